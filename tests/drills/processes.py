"""The processes of a server, as its operator and its supervisor see them."""

import sys
from pathlib import Path

from tests.running import Running

KEEPER = (sys.executable, str(Path(__file__).with_name("keeper.py")))
"""`prefix` of a server that is started again behind the same listening socket; its `server.pid` is the keeper's."""


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def workers(running: Running) -> list[int]:
    return children(running.server.pid)


def busiest(pids: list[int]) -> int:
    """The worker with the most sockets, and so with calls."""
    return max(pids, key=lambda pid: len(list(Path(f"/proc/{pid}/fd").iterdir())))


def is_there(pid: int) -> bool:
    """Whether the process runs; one that has ended and that nobody has asked for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
