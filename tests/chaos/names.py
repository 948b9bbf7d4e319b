"""A name server that knows one address for every name, and can fall silent; and how a server is made to ask it."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gevent

HOST = "vendors.test"
_ADDRESS = "127.0.0.77"
"""A loopback address of its own: on port 53 of the others somebody may listen already."""
_A = b"\x00\x01\x00\x01"


@dataclass
class Names:
    silent: bool = False
    asked: int = 0

    def serve(self, server: socket.socket) -> None:
        while True:
            query, client = server.recvfrom(512)
            self.asked += 1
            if not self.silent:
                server.sendto(_answered(query), client)


def _answered(query: bytes) -> bytes:
    """RFC 1035: the head, the question, and for an A question one answer that nobody is to remember."""
    end = query.index(b"\x00", 12) + 5
    question = query[12:end]
    has = question.endswith(_A)
    head = query[:2] + b"\x81\x80\x00\x01" + (b"\x00\x01" if has else b"\x00\x00") + b"\x00\x00\x00\x00"
    answer = b"\xc0\x0c" + _A + b"\x00\x00\x00\x00" + b"\x00\x04" + socket.inet_aton("127.0.0.1")
    return head + question + (answer if has else b"")


@contextmanager
def names() -> Iterator[Names]:
    """Raises OSError where port 53 may not be had."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((_ADDRESS, 53))
        known = Names()
        serving = gevent.spawn(known.serve, server)
        yield known
        serving.kill()  # before its socket is closed


def asks_them(folder: Path) -> tuple[str, ...]:
    """Before a command: it has a resolv.conf of its own, which nobody else sees. Needs root."""
    mine = folder / "resolv.conf"
    mine.write_text(f"nameserver {_ADDRESS}\n")
    script = f'mount --bind {mine} /etc/resolv.conf && exec "$@"'
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh")


def why_not() -> str:
    """Why this machine cannot do it; empty when it can."""
    if os.geteuid() != 0:
        return "only root can give a server a resolv.conf of its own"
    return "" if shutil.which("unshare") else "there is no unshare"
