"""Bodies of requests that are longer than any that is taken: answered, then left unread.

gunicorn would read the rest of such a body before the connection's next request, and a fast sender leaves the hub no
turn meanwhile. So that connection is closed.
"""

import socket
import time
from typing import Any

LONGEST = 65536
"""Bytes."""
_LINGER_S = 2.0
_MOST_READ = 2 * 2**20
_PIECE = 65536


def is_too_long(headers: list[tuple[str, str]]) -> bool:
    """By what gunicorn has read of the head, names in capitals; one that does not say how long it is may be."""
    told = dict(headers)
    length = told.get("CONTENT-LENGTH", "0")
    return "TRANSFER-ENCODING" in told or not length.isdecimal() or int(length) > LONGEST


def part(sock: Any) -> None:
    """After the answer: closed at once, the connection is reset, and who is still sending would often not see it."""
    read, deadline = 0, time.monotonic() + _LINGER_S
    before = sock.gettimeout()
    try:
        sock.shutdown(socket.SHUT_WR)
        while read < _MOST_READ and (left_s := deadline - time.monotonic()) > 0:
            sock.settimeout(left_s)
            piece = sock.recv(_PIECE)
            if not piece:
                break
            read += len(piece)
            # While there is always something to read, nobody else would have a turn.
            time.sleep(0)
    except OSError:
        pass
    finally:
        sock.settimeout(before)
