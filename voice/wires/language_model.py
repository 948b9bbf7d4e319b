"""The language model: Grok's chat completions. One object for all calls, each request on a greenlet of its caller's.

Source: docs.x.ai (chat completions, structured outputs, rate limits) and recorded streams of api.x.ai.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from voice.errors import VendorRefused, VendorUnavailable
from voice.wires.completion import SHOWN, Extracted, Usage, error_text, extracted, usage_in

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 4.0
"""Between two pieces of the stream, and before the first."""
EXTRACT_TIMEOUT_S = 20.0
"""From the connection to the last byte of the values: nobody is waiting on the line."""
_LARGEST_ANSWER = 1_000_000
"""Bytes of values; all that a model can write is less."""
_END_TIMEOUT_S = 0.2
"""For the end of the body behind [DONE], which comes at once or is not worth waiting for."""
_MALFORMED_IN_A_ROW = 3
_PIECE = 512
_LONGEST_LINE = 262_144
"""Of a stream; a token's has 300 bytes."""
_SLACK = 2
"""Pieces of text for each token that was allowed: then the service does not keep to it."""
_EVENTS = "text/event-stream"
_JSON = "application/json"


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class ToolCall:
    call_id: str
    name: str
    arguments: str
    """JSON, as the model wrote it."""


@dataclass(frozen=True)
class Request:
    call_sid: str
    """Sent as the conversation's id: the service then finds its prompt cache again."""
    model: str
    messages: Sequence[dict[str, Any]]
    tools: Sequence[dict[str, Any]] = ()
    temperature: float = 0.6
    max_tokens: int = 300


class LanguageModel:
    def __init__(self, url: str, key: str, connections: int) -> None:
        """`url` ends in /v1; `connections` is how many streams run at once without waiting for each other."""
        self._url = f"{url}/chat/completions"
        self._session = requests.Session()
        self._session.headers.update({"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
        # No proxy or .netrc of the host shall have a say in where a caller's words go.
        self._session.trust_env = False
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=connections))

    def stream(self, request: Request) -> Iterator[Text | ToolCall | Usage]:
        """The answer as it is made, and at its end the tokens that it used if the service tells them.

        Raises VendorUnavailable or VendorRefused. To give it up, kill the greenlet that iterates: the connection is
        closed on the way out.
        """
        body = _body(request) | {"stream": True, "stream_options": {"include_usage": True}}
        if request.tools:
            body |= {"tools": list(request.tools), "tool_choice": "auto"}
        try:
            with self._post(request, body, _EVENTS, READ_TIMEOUT_S) as response:
                _check(response, _EVENTS)
                yield from _at_most(request.max_tokens * _SLACK, _parts(_chunks(response)))
        # The second kind comes while the body of a refusal is read, where requests does not translate it.
        except (requests.RequestException, HTTPError) as error:
            raise _unreachable(error) from error

    def extract(self, request: Request, name: str, schema: Mapping[str, Any]) -> Extracted:
        """Values in the form of `schema`, a JSON schema of an object; `name` of a-z A-Z 0-9 _ - tells the model what
        they are. The request's tools are not offered.

        Takes 20 s at most, then it is unavailable. Raises VendorUnavailable, also for an answer that does not hold to
        the schema or was cut at `max_tokens`, or VendorRefused.
        """
        form = {"name": name, "strict": True, "schema": dict(schema)}
        body = _body(request) | {"response_format": {"type": "json_schema", "json_schema": form}}
        deadline = time.monotonic() + EXTRACT_TIMEOUT_S
        try:
            with self._post(request, body, _JSON, EXTRACT_TIMEOUT_S) as response:
                answer = _read_whole(response, deadline)
        except (requests.RequestException, HTTPError) as error:
            raise _unreachable(error) from error
        return extracted(answer, schema)

    def _post(self, request: Request, body: dict[str, Any], accepted: str, read_timeout_s: float) -> requests.Response:
        return self._session.post(
            self._url,
            data=orjson.dumps(body),
            headers={"Accept": accepted, "x-grok-conv-id": request.call_sid},
            stream=True,
            # The caller's words go to the address of the settings and to no other.
            allow_redirects=False,
            timeout=(CONNECT_TIMEOUT_S, read_timeout_s),
        )

    def close(self) -> None:
        self._session.close()


def _body(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": request.model,
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
        "messages": list(request.messages),
    }
    if request.model == "grok-4.3":
        # The one model that thinks unless told not to and lets itself be told; the others refuse the field.
        body["reasoning_effort"] = "none"
    return body


def _unreachable(error: Exception) -> VendorUnavailable:
    return VendorUnavailable("language model", f"{type(error).__name__}: {error}"[:SHOWN])


def _check(response: requests.Response, accepted: str) -> None:
    if response.status_code == 200 and accepted in response.headers.get("Content-Type", ""):
        return
    text = response.raw.read(2000, decode_content=True).decode("utf-8", "replace")
    detail = f"{response.status_code}: {error_text(text)}"
    if response.status_code == 200:
        raise VendorUnavailable("language model", f"no {accepted} but {response.headers.get('Content-Type')}")
    # The same status tells of too many requests and of an account that is used up; only the words differ.
    used_up = "credit" in text.lower() or "spending limit" in text.lower()
    if response.status_code >= 500 or (response.status_code == 429 and not used_up):
        raise VendorUnavailable("language model", detail)
    raise VendorRefused("language model", detail, account=used_up or response.status_code in (401, 402, 403))


def _read_whole(response: requests.Response, deadline: float) -> bytes:
    """The body of an answer that does not stream; a body that drips is cut off at the deadline."""
    # A timeout of the socket begins anew with every byte.
    cut = threading.Timer(deadline - time.monotonic(), response.raw.shutdown)
    cut.start()
    try:
        _check(response, _JSON)
        answer: bytes = response.raw.read(_LARGEST_ANSWER + 1, decode_content=True)
    finally:
        cut.cancel()
    if len(answer) > _LARGEST_ANSWER:
        raise VendorUnavailable("language model", "sent values without end")
    return answer


def _chunks(response: requests.Response) -> Iterator[dict[str, Any]]:
    """The JSON objects of the event stream, to [DONE] or its end."""
    malformed = 0
    lines = _lines(response)
    for line in lines:
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return _read_end(response, lines)
        try:
            chunk = orjson.loads(data)
            malformed = 0
        except orjson.JSONDecodeError as error:
            malformed += 1
            if malformed >= _MALFORMED_IN_A_ROW:
                raise VendorUnavailable("language model", "three lines in a row that are not JSON") from error
            continue
        if isinstance(chunk, dict):
            yield chunk


def _lines(response: requests.Response) -> Iterator[bytes]:
    """Bytes: without a charset requests would read the text as ISO-8859-1; and it would look for the end of a line
    that has none from its beginning again with every piece: 31 s for 4 MB."""
    rest = b""
    for piece in response.iter_content(_PIECE):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        if len(rest) > _LONGEST_LINE:
            raise VendorUnavailable("language model", "sent a line without end")
    yield rest


def _read_end(response: requests.Response, lines: Iterator[bytes]) -> None:
    """Only a connection whose answer was read to the last byte is kept: the next reply needs no new handshake."""
    connection = response.raw.connection
    if connection is not None and connection.sock is not None:
        connection.sock.settimeout(_END_TIMEOUT_S)
    try:
        for _ in lines:
            pass
    except requests.RequestException:
        pass  # the answer is complete; this connection is just not kept


def _at_most(pieces: int, parts: Iterator[Text | ToolCall | Usage]) -> Iterator[Text | ToolCall | Usage]:
    """What comes behind so many pieces of text is not read any more."""
    for part in parts:
        yield part
        pieces -= isinstance(part, Text)
        if pieces <= 0:
            return


def _parts(chunks: Iterator[dict[str, Any]]) -> Iterator[Text | ToolCall | Usage]:
    # Of the whole answer, wherever it stands; the last one holds where several do.
    usage: Usage | None = None
    # By index: the service sends a call whole in one piece, others that speak this protocol do not.
    calls: dict[int, ToolCall] = {}
    for chunk in chunks:
        choices = chunk.get("choices")
        usage = usage_in(chunk) or usage
        if "error" in chunk and not choices:
            raise VendorUnavailable("language model", f"broke off: {error_text(orjson.dumps(chunk).decode())}")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            continue
        delta = choices[0].get("delta")
        if not isinstance(delta, dict):
            continue
        if isinstance(text := delta.get("content"), str) and text:
            yield Text(text)
        if isinstance(parts := delta.get("tool_calls"), list):
            for part in parts:
                _collect(calls, part)
    yield from calls.values()
    if usage:
        yield usage


def _collect(calls: dict[int, ToolCall], part: Any) -> None:
    match part:
        case {"function": {**function}}:
            index = part["index"] if isinstance(part.get("index"), int) else 0
            so_far = calls.get(index, ToolCall("", "", ""))
            calls[index] = ToolCall(
                so_far.call_id or str(part.get("id") or ""),
                so_far.name + str(function.get("name") or ""),
                so_far.arguments + str(function.get("arguments") or ""),
            )
