"""The language model's stand-in: `POST /v1/chat/completions` and `GET /v1/models`, as xAI answers in November 2026."""

import errno
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gevent
import orjson

from voice.sandbox import faults
from voice.sandbox.delays import Delays
from voice.sandbox.demo_script import Answer, Message, receptionist
from voice.sandbox.doors import (
    Body,
    Environ,
    StartResponse,
    request_body,
    request_headers,
    reset,
    respond,
    wait_for_departure,
)
from voice.sandbox.xai_checks import MODELS, Refused, Request, check
from voice.sandbox.xai_stream import DONE, complete, events, whole
from voice.sandbox.xai_values import Schema, asked_schema, fill_in


@dataclass(eq=False)
class Asked:
    """One request for a completion, for tests to read."""

    headers: dict[str, str]
    """Names in lower case."""
    body: Any
    """The JSON as it came; None if it was none."""
    asked_at: float = field(default_factory=time.monotonic)
    status: int = 200
    tokens_sent: int = 0
    sent_at: list[float] = field(default_factory=list)
    """`time.monotonic()` of each event of the answer: the tokens first, the finish after them."""
    cancelled: bool = False
    """The client left before the end."""
    finished: bool = False
    """The answer went out whole."""


class XaiStandIn:
    def __init__(self, delays: Delays, api_key: str = "sandbox-xai-key") -> None:
        self.delays = delays
        self.api_key = api_key
        self.answer: Callable[[list[Message]], Answer] = receptionist
        self.extract: Callable[[list[Message], Schema], dict[str, Any]] = fill_in
        """Answers where a JSON schema stands in `response_format`."""
        self.faults: list[object] = []
        """AnswerStatus, NeverAnswer, StallAfter, ResetAfter, RawAfter, Trickle."""
        self.requests: list[Asked] = []
        """Every POST, oldest first."""

    def app(self, environ: Environ, start_response: StartResponse) -> Body:
        route = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        try:
            match route:
                case "GET", "/v1/models":
                    self._check_key(environ)
                    return respond(start_response, 200, _models())
                case "POST", "/v1/chat/completions":
                    return self._chat(environ, start_response)
                case _:
                    raise Refused(404, "Not found", f"No route for {route[0]} {route[1]}")
        except Refused as refused:
            return respond(start_response, refused.status, refused.body)

    def _chat(self, environ: Environ, start_response: StartResponse) -> Body:
        raw = request_body(environ)
        asked = Asked(request_headers(environ), _json(raw))
        self.requests.append(asked)
        if faults.take(self.faults, faults.NeverAnswer):
            wait_for_departure(environ)
            asked.cancelled = True
            return []
        if fault := faults.take(self.faults, faults.AnswerStatus):
            asked.status = fault.status
            return respond(start_response, fault.status, fault.body, fault.headers, fault.content_type)
        try:
            self._check_key(environ)
            request = check(asked.body)
        except Refused as refused:
            asked.status = refused.status
            raise
        completion = complete(request, self._answer(request))
        connection = environ["sandbox.connection"]
        if not request.get("stream"):
            start_response("200 OK", [("Content-Type", "application/json")])
            # Nothing, not even the head, goes out before the last token is made; its faults come on the way there.
            unseen = (b"" for _ in completion.tokens)
            return self._stream(connection, asked, unseen, orjson.dumps(whole(request, completion)))
        start_response("200 OK", [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache")])
        return self._stream(connection, asked, events(request, completion), DONE)

    def _answer(self, request: Request) -> Answer:
        if trickle := faults.take(self.faults, faults.Trickle):
            return Answer(" ".join(["and", "then"] * (trickle.words // 2 + 1)))
        schema = asked_schema(request)
        if schema is not None:
            return Answer(orjson.dumps(self.extract(request["messages"], schema)).decode())
        return self.answer(request["messages"])

    def _stream(self, connection: Any, asked: Asked, lines: Iterator[bytes], end: bytes) -> Iterator[bytes]:
        """Runs on the connection's greenlet; a second one watches for the client's departure meanwhile."""
        watch = gevent.spawn(_watch, connection, asked)
        try:
            gevent.sleep(self.delays.first_token_ms / 1000)
            for line in lines:
                yield from self._suffer(connection, asked, watch)
                if asked.cancelled:
                    return
                asked.sent_at.append(time.monotonic())
                yield line
                asked.tokens_sent += 1
                gevent.sleep(self.delays.token_ms / 1000)
            yield end
            asked.finished = True
        except GeneratorExit:
            # The server could not write: the client left before the watch had its turn.
            asked.cancelled = True
            raise
        finally:
            watch.kill()

    def _suffer(self, connection: Any, asked: Asked, watch: gevent.Greenlet) -> Iterator[bytes]:
        for fault in list(self.faults):
            if isinstance(fault, faults.StallAfter | faults.ResetAfter | faults.RawAfter):
                # Another request may have met it while this one was stalled.
                if fault.tokens > asked.tokens_sent or fault not in self.faults:
                    continue
                self.faults.remove(fault)
                if isinstance(fault, faults.RawAfter):
                    yield fault.raw
                elif isinstance(fault, faults.ResetAfter):
                    watch.kill()
                    reset(connection)
                    raise ConnectionResetError(errno.ECONNRESET, "reset on request of a test")
                else:
                    watch.join()

    def _check_key(self, environ: Environ) -> None:
        given = environ.get("HTTP_AUTHORIZATION", "")
        if not given.startswith("Bearer "):
            raise Refused(401, "The request does not have valid authentication credentials", "No API key provided.")
        if given != f"Bearer {self.api_key}":
            code = "The caller does not have permission to execute the specified operation"
            raise Refused(403, code, "Incorrect API key provided.")


def _watch(connection: Any, asked: Asked) -> None:
    """Mark the request the moment its client leaves. Looks at the next byte without taking it."""
    try:
        # Below TLS, which has no peeking: there a client that says goodbye is met by the next write.
        asked.cancelled = socket.socket.recv(connection, 1, socket.MSG_PEEK) == b""
    except OSError:
        asked.cancelled = True


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except ValueError:
        return None


def _models() -> dict[str, object]:
    data = [{"id": name, "object": "model", "created": 1774310400, "owned_by": "xai"} for name in MODELS]
    return {"object": "list", "data": data}
