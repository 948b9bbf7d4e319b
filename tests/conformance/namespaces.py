"""A network of its own, in which every packet can be made to vanish. For Linux, root, with `ip` and `tc`."""

import ctypes
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_NETWORK = 0x40000000  # CLONE_NEWNET of sched.h
PORT = 8000
"""Where the server listens in there: nobody else does."""


class Namespace:
    """Use as a context manager. Raises Unavailable when there can be none here."""

    def __init__(self) -> None:
        self.name = f"voice-test-{os.getpid()}"

    def __enter__(self) -> "Namespace":
        if not sys.platform.startswith("linux") or os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("tc")):
            raise Unavailable("network namespaces need Linux, root, ip and tc")
        try:
            _run("ip", "netns", "add", self.name)
            _run("ip", "-n", self.name, "link", "set", "lo", "up")
        except subprocess.CalledProcessError as error:
            self.__exit__()
            raise Unavailable(f"no network namespace: {error.stderr}") from error
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)

    @property
    def prefix(self) -> tuple[str, ...]:
        """To run gunicorn under: it then listens in this namespace, too."""
        return (sys.executable, "-m", "tests.conformance.namespaces", self.name)

    def connect(self) -> socket.socket:
        """A connection to the server, in this namespace."""
        with inside(self.name):
            sock = socket.socket()
        sock.settimeout(5)
        sock.connect(("127.0.0.1", PORT))
        return sock

    def cut(self) -> None:
        """From now on every packet vanishes; no end learns of it."""
        _run("tc", "-n", self.name, "qdisc", "add", "dev", "lo", "root", "pfifo", "limit", "0")


class Unavailable(Exception):
    pass


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Sockets that are made meanwhile belong to that namespace, and stay there. Of this thread; nothing may switch."""
    home, there = (os.open(path, os.O_RDONLY) for path in ("/proc/thread-self/ns/net", f"/run/netns/{name}"))
    try:
        _enter(there)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(home)
        os.close(there)


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True)


def _serve(name: str, command: list[str]) -> None:
    """Become the command, with a listener in the namespace beside the one that it is told to `--bind`."""
    at = command.index("--bind") + 1
    host, _, port = command[at].rpartition(":")
    with inside(name):
        there = socket.create_server(("127.0.0.1", PORT))
    # gunicorn opens no listener of its own beside those it is given.
    listeners = [socket.create_server((host, int(port)), backlog=512), there]
    for listener in listeners:
        listener.set_inheritable(True)
    here, there_too = (f"fd://{listener.fileno()}" for listener in listeners)
    os.execv(command[0], [*command[:at], here, "--bind", there_too, *command[at + 1 :]])


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2:])
