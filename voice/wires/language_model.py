"""The language model: Grok's chat completions, streamed. One object for all calls, each stream on its reply's greenlet.

Source: docs.x.ai (chat completions, rate limits) and recorded streams of api.x.ai.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from voice.errors import VendorRefused, VendorUnavailable

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 6.0
"""Between two pieces of the stream, and before the first."""
_END_TIMEOUT_S = 0.2
"""For the end of the body behind [DONE], which comes at once or is not worth waiting for."""
_MALFORMED_IN_A_ROW = 3
_SHOWN = 300


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
        self._session.headers.update({"Authorization": f"Bearer {key}", "Accept": "text/event-stream"})
        # No proxy or .netrc of the host shall have a say in where a caller's words go.
        self._session.trust_env = False
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=connections))

    def stream(self, request: Request) -> Iterator[Text | ToolCall]:
        """The answer as it is made. Raises VendorUnavailable or VendorRefused.

        To give it up, kill the greenlet that iterates: the connection is closed on the way out.
        """
        try:
            with self._session.post(
                self._url,
                data=orjson.dumps(_body(request)),
                headers={"Content-Type": "application/json", "x-grok-conv-id": request.call_sid},
                stream=True,
                # The caller's words go to the address of the settings and to no other.
                allow_redirects=False,
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            ) as response:
                _check(response)
                yield from _parts(_chunks(response))
        # The second kind comes while the body of a refusal is read, where requests does not translate it.
        except (requests.RequestException, HTTPError) as error:
            raise VendorUnavailable("language model", f"{type(error).__name__}: {error}"[:_SHOWN]) from error

    def close(self) -> None:
        self._session.close()


def _body(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": request.model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
        "messages": list(request.messages),
    }
    if request.model == "grok-4.3":
        # The one model that thinks unless told not to and lets itself be told; the others refuse the field.
        body["reasoning_effort"] = "none"
    if request.tools:
        body["tools"] = list(request.tools)
        body["tool_choice"] = "auto"
    return body


def _check(response: requests.Response) -> None:
    if response.status_code == 200 and "text/event-stream" in response.headers.get("Content-Type", ""):
        return
    text = response.raw.read(2000, decode_content=True).decode("utf-8", "replace")
    detail = f"{response.status_code}: {_error_text(text)}"
    if response.status_code == 200:
        raise VendorUnavailable("language model", f"no event stream but {response.headers.get('Content-Type')}")
    # The same status tells of too many requests and of an account that is used up; only the words differ.
    used_up = "credit" in text.lower() or "spending limit" in text.lower()
    transient = response.status_code >= 500 or (response.status_code == 429 and not used_up)
    raise (VendorUnavailable if transient else VendorRefused)("language model", detail)


def _chunks(response: requests.Response) -> Iterator[dict[str, Any]]:
    """The JSON objects of the event stream, to [DONE] or its end."""
    malformed = 0
    # Bytes: without a charset requests would read the text as ISO-8859-1.
    lines = response.iter_lines()
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


def _parts(chunks: Iterator[dict[str, Any]]) -> Iterator[Text | ToolCall]:
    # By index: the service sends a call whole in one piece, others that speak this protocol do not.
    calls: dict[int, ToolCall] = {}
    for chunk in chunks:
        choices = chunk.get("choices")
        if "error" in chunk and not choices:
            raise VendorUnavailable("language model", f"broke off: {_error_text(orjson.dumps(chunk).decode())}")
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


def _error_text(text: str) -> str:
    """Bodies are flat ({"code","error"}) or OpenAI's ({"error":{"message"}}), or no JSON at all."""
    try:
        body = orjson.loads(text)
        error = body.get("error", body) if isinstance(body, dict) else body
        found = error.get("message", error) if isinstance(error, dict) else error
    except orjson.JSONDecodeError:
        found = text
    return ascii(str(found)[:_SHOWN])
