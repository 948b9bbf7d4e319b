"""One client's connection through the chaos proxy: each direction has a greenlet that reads and one that writes."""

import random
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import gevent
from gevent.event import Event
from gevent.queue import Queue

from voice.sandbox.chaos_faults import Corrupt, Cut, Drip, Fault, HalfClose, Latency, Reset, Stall

Address = tuple[str, int]

_REQUEST = (b"GET ", b"POST ")
_RESET = struct.pack("ii", 1, 0)
# Pieces on their way in one direction: beyond these the sender is made to wait, as a network makes it.
_IN_FLIGHT = 64
_ENDS = Reset, Cut, HalfClose


class Owner(Protocol):
    """What a passage needs of its proxy, which tells what each of these is."""

    upstream: Address
    victims_upstream: Address
    marker: bytes
    posted: set[int]
    passages: "list[Passage]"
    random: random.Random

    def claim(self) -> Fault | None: ...


@dataclass(eq=False)
class Passage:
    """One client's connection and, dialed when it first sends, those to the upstreams that it talks with."""

    proxy: Owner
    client: socket.socket
    claimed_at_dial: bool
    victim: bool = False
    claimed_at: float = 0.0
    """`time.monotonic()` of the victim's latest dial or request here."""
    fault: Fault | None = None
    passed: int = 0
    """Bytes that the client has got since the fault took hold."""
    ended_at: float | None = None
    """`time.monotonic()` of the first end of either side."""
    _upstreams: dict[Address, socket.socket] = field(default_factory=dict)
    _turned: Event = field(default_factory=Event)
    _greenlets: list[gevent.Greenlet] = field(default_factory=list)

    def begin(self) -> None:
        if self.claimed_at_dial:
            self.victim, self.claimed_at = True, time.monotonic()
            self.meet(self.proxy.claim())
        if self.ended_at is None:
            self._pipe(self.client, None)

    def meet(self, fault: Fault | None) -> None:
        """From now on this; an end that is due ends it at once, even while nothing moves."""
        self.fault, self.passed = fault, 0
        self._turned.set()
        if isinstance(fault, _ENDS) and fault.after == 0:
            self._end(fault)

    def reset(self) -> None:
        for sock in (self.client, *self._upstreams.values()):
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._close()

    def finish(self) -> None:
        for sock in (self.client, *self._upstreams.values()):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._close()

    # One direction: a greenlet that reads and one that writes, so that what is late keeps nothing else from coming

    def _pipe(self, source: socket.socket, sink: socket.socket | None) -> None:
        """`sink` is None on the way up: the head of each request decides."""
        pieces: Queue[tuple[float, bytes]] = Queue(_IN_FLIGHT)
        self._greenlets.append(gevent.spawn(self._read, source, pieces))
        self._greenlets.append(gevent.spawn(self._write, source, sink, pieces))

    def _read(self, source: socket.socket, pieces: "Queue[tuple[float, bytes]]") -> None:
        piece = b"-"
        while piece:
            try:
                piece = source.recv(65536)
            except OSError:
                return self.reset()
            pieces.put((time.monotonic(), piece))

    def _write(self, source: socket.socket, sink: socket.socket | None, pieces: "Queue[tuple[float, bytes]]") -> None:
        try:
            while (arrived := pieces.get())[1]:
                at, piece = arrived
                if sink is None:
                    self._up(at, piece)
                else:
                    self._down(at, piece, sink)
            self._source_ended(source)
        except OSError:
            self.reset()

    def _up(self, at: float, piece: bytes) -> None:
        if piece.startswith(_REQUEST):
            self._look_at(piece)
        while isinstance(fault := self.fault, Stall) and fault.both and self._due(fault):
            self._wait_for_turn()
        self._delay(at)
        if self.ended_at is None:
            self._upstream().sendall(piece)

    def _look_at(self, head: bytes) -> None:
        if head.startswith(b"POST "):
            self.proxy.posted.add(self.client.getpeername()[1])
        if not self.claimed_at_dial:
            self.victim = bool(self.proxy.marker) and self.proxy.marker in head.partition(b"\r\n\r\n")[0]
            self.claimed_at = time.monotonic() if self.victim else 0.0
            self.meet(self.proxy.claim() if self.victim else None)

    def _down(self, at: float, piece: bytes, sink: socket.socket) -> None:
        while piece and self.ended_at is None:
            fault = self.fault
            if fault is None or isinstance(fault, Latency):
                self._delay(at)
                piece = self._send(sink, piece, len(piece))
            elif not self._due(fault):
                piece = self._send(sink, piece, fault.after - self.passed)
            elif isinstance(fault, Stall):
                self._wait_for_turn()
            elif isinstance(fault, Drip):
                gevent.sleep(1 / fault.bytes_per_s)
                piece = self._send(sink, piece, 1)
            elif isinstance(fault, Corrupt):
                self.fault = None
                piece = bytes([piece[0] ^ 0xFF]) + piece[1:]
            else:
                self._end(fault)
                return

    def _send(self, sink: socket.socket, piece: bytes, size: int) -> bytes:
        """Returns what is left of the piece."""
        sink.sendall(piece[:size])
        self.passed += size
        return piece[size:]

    def _due(self, fault: Fault) -> bool:
        return not isinstance(fault, Latency) and self.passed >= fault.after

    def _delay(self, at: float) -> None:
        fault = self.fault
        if isinstance(fault, Latency):
            late = fault.ms + self.proxy.random.uniform(0, fault.jitter_ms)
            gevent.sleep(max(0.0, at + late / 1000 - time.monotonic()))

    def _wait_for_turn(self) -> None:
        self._turned.clear()
        self._turned.wait()

    def _upstream(self) -> socket.socket:
        address = self.proxy.victims_upstream if self.victim else self.proxy.upstream
        if address not in self._upstreams:
            upstream = socket.create_connection(address)
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._upstreams[address] = upstream
            self._pipe(upstream, self.client)
        return self._upstreams[address]

    # Ends

    def _end(self, fault: Fault) -> None:
        match fault:
            case Reset():
                self.reset()
            case Cut():
                self.finish()
            case _:
                with suppress(OSError):
                    self.client.shutdown(socket.SHUT_WR)
                # What still comes down has nowhere to go.
                self.fault = Stall()

    def _source_ended(self, source: socket.socket) -> None:
        """Either side has nothing more to say; an upstream that is not talked with any more may go for itself."""
        address = next((a for a, upstream in self._upstreams.items() if upstream is source), None)
        talks_with = self.proxy.victims_upstream if self.victim else self.proxy.upstream
        if address is not None and address != talks_with:
            self._upstreams.pop(address).close()
        else:
            self.finish()

    def _close(self) -> None:
        if self.ended_at is None:
            self.ended_at = time.monotonic()
            self.proxy.passages.remove(self)
        for sock in (self.client, *self._upstreams.values()):
            sock.close()
        gevent.killall([greenlet for greenlet in self._greenlets if greenlet is not gevent.getcurrent()], block=False)
