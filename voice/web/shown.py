"""What strangers send, fit for a line of the log."""

from flask import request

_LONGEST = 200


def shown(text: str) -> str:
    """One line of ASCII: nobody can forge another line with it."""
    return ascii(text[:_LONGEST])[1:-1]


def peer() -> str:
    return shown(str(request.remote_addr))
