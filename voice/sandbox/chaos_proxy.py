"""A TCP proxy that spoils some of the connections passing through it: one call meets a broken network, others do not.

Which connections are the victim's is seen in the head of an HTTP request, a WebSocket's upgrade included. What stands
in a WebSocket's frames is masked; a victim that can be told only by them is told by when it dials: `claims`.
"""

import random
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, field

import gevent
from gevent.event import Event
from gevent.queue import Queue

Address = tuple[str, int]

_REQUEST = (b"GET ", b"POST ")
_BACKLOG = 2048
_RESET = struct.pack("ii", 1, 0)
# Pieces on their way in one direction: beyond these the sender is made to wait, as a network makes it.
_IN_FLIGHT = 64


# `after` counts the bytes of a connection that its client has got since the fault took hold, in a new request from 0.


@dataclass(frozen=True)
class Stall:
    """Nothing more comes; what does not come is kept until the proxy is healed. At a dial: accepted, never answered."""

    after: int = 0
    both: bool = False
    """Nothing more goes the other way, too."""


@dataclass(frozen=True)
class Drip:
    bytes_per_s: float
    after: int = 0


@dataclass(frozen=True)
class Reset:
    """RST to both ends. At a dial: accepted and reset at once."""

    after: int = 0


@dataclass(frozen=True)
class Cut:
    """FIN to both ends."""

    after: int = 0


@dataclass(frozen=True)
class HalfClose:
    """FIN to the client; what it sends still goes through."""

    after: int = 0


@dataclass(frozen=True)
class Corrupt:
    """The byte after these comes with all its bits turned over."""

    after: int = 0


@dataclass(frozen=True)
class Latency:
    """Both ways, each piece this much later and by chance up to `jitter_ms` more; the order stays."""

    ms: float
    jitter_ms: float = 0


Fault = Stall | Drip | Reset | Cut | HalfClose | Corrupt | Latency
_ENDS = Reset, Cut, HalfClose


class ChaosProxy:
    """Use as a context manager, or `start` and `stop`. Listens on 127.0.0.1."""

    def __init__(self, upstream: Address, marker: bytes = b"", victims_upstream: Address | None = None) -> None:
        """`marker` in the head of a request makes it the victim's, and may send it elsewhere."""
        self.upstream = upstream
        self.victims_upstream = victims_upstream or upstream
        self.marker = marker
        self.claims = False
        """Every connection made while this is set is the victim's from the dial on."""
        self.claimed: list[float] = []
        """`time.monotonic()` of each dial and each request that was the victim's."""
        self.passages: list[Passage] = []
        """The connections that are open, oldest first."""
        self.posted: set[int] = set()
        """The clients' ports of all connections, of former ones too, that are for requests and no WebSockets."""
        self.random = random.Random(1)
        self._expected: Fault | None = None
        self._times = 0
        self._fillers: list[socket.socket] = []
        self.port = 0

    def start(self) -> None:
        self._listen()
        self.port = int(self._listener.getsockname()[1])

    def stop(self) -> None:
        self.refuse()
        for passage in self.passages[:]:
            passage.reset()

    def __enter__(self) -> "ChaosProxy":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # The victim's connections

    def spoil(self, fault: Fault) -> None:
        """The victim's connections that are open, from now on."""
        for passage in self.victims:
            passage.meet(fault)

    def expect(self, fault: Fault, times: int = 1_000_000) -> None:
        """The victim's next dials or requests, so many of them."""
        self._expected, self._times = fault, times

    def heal(self) -> None:
        """No fault any more; what was held back goes on its way. An open door is opened again."""
        self._times = 0
        for passage in self.passages[:]:
            passage.meet(None)
        self.open()

    @property
    def victims(self) -> list["Passage"]:
        return [passage for passage in self.passages if passage.victim]

    def claim(self) -> Fault | None:
        """One more dial or request is the victim's; returns what it is to suffer."""
        self.claimed.append(time.monotonic())
        self._times -= 1
        return self._expected if self._times >= 0 else None

    # Everybody who dials: at this point nobody can be told from anybody

    def refuse(self) -> None:
        """Nobody listens: connection refused. What is open stays."""
        self._acceptor.kill()
        self._listener.close()
        self._drop_fillers()

    def blackhole(self) -> None:
        """A dial gets no answer at all: the queue of the listening socket is full, and nobody takes from it."""
        self._acceptor.kill()
        self._listener.listen(0)
        taken = True
        while taken:
            filler = socket.socket()
            filler.settimeout(0.05)
            self._fillers.append(filler)
            try:
                filler.connect(("127.0.0.1", self.port))
            except OSError:
                taken = False

    def open(self) -> None:
        """After `refuse` or `blackhole`: as before."""
        if self._acceptor.dead:
            self._drop_fillers()
            self._listener.close()
            self._listen()

    def cut_all(self) -> None:
        """End all connections, politely: kept ones have to be dialed anew."""
        for passage in self.passages[:]:
            passage.finish()

    def _listen(self) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(_BACKLOG)
        self._acceptor = gevent.spawn(self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            passage = Passage(self, client, self.claims)
            self.passages.append(passage)
            passage.begin()

    def _drop_fillers(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()


@dataclass(eq=False)
class Passage:
    """One client's connection and, dialed when it first sends, those to the upstreams that it talks with."""

    proxy: ChaosProxy
    client: socket.socket
    claimed_at_dial: bool
    victim: bool = False
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
            self.victim = True
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
