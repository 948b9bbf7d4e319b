"""How long the workers' hubs stand still, seen from a process that nothing else slows down. Standard library only.

`python probe.py PORT PID PID …` holds one kept-alive connection to each worker and asks /healthz every 20 ms. For each
line on standard input it prints one, in milliseconds and since the last line: by how much it was itself woken late at
most, and then the longest answer of each worker.
"""

import os
import select
import socket
import sys
import time
from pathlib import Path

_EVERY_S = 0.02
_ASK = b"GET /healthz HTTP/1.1\r\nHost: probe\r\n\r\n"
_TRIES = 300


def _answered(sock: socket.socket) -> None:
    sock.sendall(_ASK)
    answer = b""
    while b'"}' not in answer:
        piece = sock.recv(4096)
        if not piece:
            sys.exit("the server has hung up on the probe")
        answer += piece


def _worker_of(sock: socket.socket, pids: list[int]) -> int:
    """Whose the other end is: its inode in the kernel's table, and that among the worker's descriptors."""
    here, there = (f":{sock.getsockname()[1]:04X}", f":{sock.getpeername()[1]:04X}")
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = [row[9] for row in rows if row[1].endswith(there) and row[2].endswith(here)]
    links = {f"socket:[{inode}]" for inode in inodes}
    return next((pid for pid in pids if links & _links(pid)), 0)


def _links(pid: int) -> set[str]:
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            pass
    return found


def _connections(port: int, pids: list[int]) -> dict[int, socket.socket]:
    """A worker takes whatever connection it gets first, so it takes some tries to meet each of them."""
    found: dict[int, socket.socket] = {}
    for _ in range(_TRIES):
        sock = socket.create_connection(("127.0.0.1", port))
        _answered(sock)
        pid = _worker_of(sock, pids)
        if pid and pid not in found:
            found[pid] = sock
        if len(found) == len(pids):
            return found
    sys.exit(f"only {len(found)} of {len(pids)} workers were met")


def main(port: int, pids: list[int]) -> None:
    sockets = _connections(port, pids)
    longest, late = dict.fromkeys(pids, 0.0), 0.0
    print("ready", flush=True)
    while True:
        for pid, sock in sockets.items():
            began = time.monotonic()
            _answered(sock)
            longest[pid] = max(longest[pid], (time.monotonic() - began) * 1000)
        began = time.monotonic()
        asked = select.select([sys.stdin], [], [], _EVERY_S)[0]
        late = max(late, (time.monotonic() - began - _EVERY_S) * 1000)
        if asked:
            if not sys.stdin.readline():
                return
            print(f"{late:.1f}", *(f"{longest[pid]:.1f}" for pid in pids), flush=True)
            longest, late = dict.fromkeys(pids, 0.0), 0.0


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(pid) for pid in sys.argv[2:]])
