"""Keeps the listening socket as systemd does, and starts the command again when it ends: `keeper.py COMMAND ...`.

Listens on 127.0.0.1:$PORT, and hands the socket over by LISTEN_FDS (man 3 sd_listen_fds). What ended by itself,
as by `systemctl restart`, is started at once; one that was killed a second later, which is the unit's RestartSec.
SIGINT goes to the command, and then both end. Nobody kills what the command leaves behind: systemd would.
"""

import os
import signal
import socket
import sys
import time
from types import FrameType

_FIRST_FD = 3
_RESTART_S = 1.0


def main(command: list[str]) -> None:
    door = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=2048)
    running = _start(command, door)
    ending = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal ending
        ending = True
        os.kill(running, signal.SIGINT)

    signal.signal(signal.SIGINT, end)
    while True:
        _, status = os.waitpid(running, 0)
        if ending:
            return
        if os.WIFSIGNALED(status):
            time.sleep(_RESTART_S)
        running = _start(command, door)


def _start(command: list[str], door: socket.socket) -> int:
    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.dup2(door.fileno(), _FIRST_FD)
    os.set_inheritable(_FIRST_FD, True)
    os.execvpe(command[0], command, os.environ | {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})


if __name__ == "__main__":
    main(sys.argv[1:])
