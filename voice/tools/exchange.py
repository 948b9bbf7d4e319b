"""One HTTP request to a machine of the operator's, over before its time is: nothing it does keeps a call waiting."""

import http.client
import queue
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass

from voice import outgoing
from voice.errors import VendorUnavailable

LONGEST_BODY = 65536
"""Bytes of an answer that are read."""


@dataclass(frozen=True)
class Request:
    method: str
    url: str
    """http or https; the path and the query are percent-encoded."""
    headers: Mapping[str, str]
    body: bytes | None = None


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """By their names in small letters."""
    body: bytes
    whole: bool
    """The body is no longer than what was read of it."""


class Exchange:
    """A thread of its own makes the request, so that neither a slow name server nor an answer that drips is waited for.

    That thread reads and writes the socket; `run`, on the thread of the caller, at most shuts it.
    """

    def __init__(self, request: Request, timeout_s: float, private: bool = False) -> None:
        """`private`: the machine may have an address that the Internet does not have."""
        self._request = request
        self._timeout_s = timeout_s
        self._private = private
        # http.client lets go of it while the body is still to be read.
        self._socket: socket.socket | None = None
        self._given_up = threading.Event()
        self._result: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()

    def run(self) -> Answer:
        """The answer, whatever its status. Raises VendorUnavailable when none came, with a reason fit for the model."""
        threading.Thread(target=self._work, name="webhook", daemon=True).start()
        try:
            result = self._result.get(timeout=self._timeout_s)
        except queue.Empty:
            raise VendorUnavailable("webhook", _late(self._timeout_s)) from None
        finally:
            self._give_up()
        if isinstance(result, OSError | http.client.HTTPException):
            raise VendorUnavailable("webhook", _reason(result, self._timeout_s)) from result
        if isinstance(result, Exception):
            raise result
        return result

    def _work(self) -> None:
        try:
            with closing(outgoing.connected(self._request.url, self._timeout_s, self._private)) as connection:
                self._socket = connection.sock
                # Nothing may happen there any more once the model was told that there was no answer.
                if not self._given_up.is_set():
                    self._result.put(self._answer(connection))
        except Exception as error:
            self._result.put(error)

    def _answer(self, connection: http.client.HTTPConnection) -> Answer:
        request = self._request
        connection.request(request.method, outgoing.target(request.url), request.body, dict(request.headers))
        with connection.getresponse() as response:
            body = response.read(LONGEST_BODY + 1)
            whole = len(body) <= LONGEST_BODY
            if whole and response.length:
                raise http.client.IncompleteRead(b"", response.length)
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, body[:LONGEST_BODY], whole)

    def _give_up(self) -> None:
        # In this order: a thread that connects later sees the first, one that has connected is ended by the second.
        self._given_up.set()
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _late(timeout_s: float) -> str:
    return f"there was no complete answer within {timeout_s:g} seconds"


def _reason(error: Exception, timeout_s: float) -> str:
    # Without the error's own text: it may name what was sent.
    match error:
        case TimeoutError():
            return _late(timeout_s)
        case outgoing.AddressRefused():
            return "its host has an address that may not be called"
        case socket.gaierror():
            return "its host was not found"
        case ConnectionRefusedError():
            return "its host refused the connection"
        case ssl.SSLError():
            return "no secure connection to its host could be made"
        case OSError():
            return "the connection broke before there was an answer"
        case http.client.IncompleteRead():
            return "the connection ended before the answer was complete"
    return "its host answered with something that is no HTTP"
