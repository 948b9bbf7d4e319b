"""A TCP proxy that spoils some of the connections passing through it: one call meets a broken network, others do not.

Which connections are the victim's is seen in the head of an HTTP request, a WebSocket's upgrade included. What stands
in a WebSocket's frames is masked; a victim that can be told only by them is told by when it dials: `claims`.
"""

import random
import socket
import time

import gevent

from voice.sandbox.chaos_faults import Fault
from voice.sandbox.chaos_passage import Address, Passage

_BACKLOG = 2048


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
    def victims(self) -> list[Passage]:
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
