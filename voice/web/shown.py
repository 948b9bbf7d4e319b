"""What strangers send, fit for a line of the log or the record."""

import re
from collections.abc import Mapping

from flask import request

_LONGEST = 200
_VERDICT = re.compile(r"[A-Za-z-]{1,40}")


def shown(text: str) -> str:
    """One line of ASCII: nobody can forge another line with it."""
    return ascii(text[:_LONGEST])[1:-1]


def peer() -> str:
    return shown(str(request.remote_addr))


def stir_verdict(form: Mapping[str, str]) -> str:
    """Of a webhook, such as `TN-Validation-Passed-A`; empty where there is none."""
    verdict = form.get("StirVerstat", "")
    return verdict if _VERDICT.fullmatch(verdict) else ""
