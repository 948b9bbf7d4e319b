"""Peers for the wires' tests: servers on 127.0.0.1 that do what a test says, and a greenlet that reads events."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import gevent
from gevent.pywsgi import WSGIServer
from gevent.queue import Queue
from gevent.server import StreamServer

from voice.sandbox.doors import Body, Environ, Handler, StartResponse
from voice.sandbox.served_socket import ServedSocket, upgrade

PATIENCE_S = 3.0
_Event = TypeVar("_Event")


@contextmanager
def websocket_server(serve: Callable[[ServedSocket], object]) -> Iterator[str]:
    """A server that answers every upgrade and runs `serve` on the socket; gives its ws:// address."""

    def app(environ: Environ, start_response: StartResponse) -> Body:
        served = upgrade(environ)
        serve(served)
        served.finish()
        return []

    server = WSGIServer(("127.0.0.1", 0), app, handler_class=Handler, log=None)
    server.start()
    try:
        yield f"ws://127.0.0.1:{server.server_port}"
    finally:
        server.stop(timeout=0)


@contextmanager
def tcp_server(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server that runs `serve` on every connection and closes it after that; gives its port."""
    server = StreamServer(("127.0.0.1", 0), lambda connection, _: serve(connection))
    server.start()
    try:
        yield int(server.server_port)
    finally:
        server.stop(timeout=0)


def read_request(connection: socket.socket) -> bytes:
    """One HTTP request, head and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < sum(length):
        body += _some(connection)
    return head + b"\r\n\r\n" + body


def _some(connection: socket.socket) -> bytes:
    if not (data := connection.recv(65536)):
        raise ConnectionError("the client left")
    return data


def until(condition: Callable[[], Any], what: str = "what was waited for") -> None:
    """Return as soon as the condition holds; fail after 3 s. For the state of a stand-in, which tells nobody."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        gevent.sleep(0.002)


class Reader(Generic[_Event]):
    """Reads a wire's events on a greenlet of its own, as a call does."""

    def __init__(self, events: Iterator[_Event]) -> None:
        self._queue: Queue[_Event | Exception] = Queue()
        self._greenlet = gevent.spawn(self._read, events)

    def next(self) -> _Event:
        """The next event. Raises what ended the events, gevent.queue.Empty when nothing comes."""
        event: _Event | Exception = self._queue.get(timeout=PATIENCE_S)
        if isinstance(event, Exception):
            raise event
        return event

    def take(self, count: int) -> list[_Event]:
        return [self.next() for _ in range(count)]

    def stop(self) -> None:
        self._greenlet.kill()

    def _read(self, events: Iterator[_Event]) -> None:
        try:
            for event in events:
                self._queue.put(event)
        except Exception as error:
            self._queue.put(error)
