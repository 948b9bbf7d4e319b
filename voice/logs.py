"""The server's log: one line per record, whatever text a caller or a vendor put into it, and never a secret."""

import logging
import re
import sys
import time
from collections.abc import Sequence

import orjson

# Line ends would forge records, escape sequences and changes of direction play tricks on whoever reads them.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_HIDDEN = "[secret]"


class _Safe(logging.Formatter):
    def __init__(self, secrets: Sequence[str], as_json: bool) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime
        # The longest first: one secret may be the beginning of another.
        self._secrets = sorted((secret for secret in secrets if secret), key=len, reverse=True)
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        time_ = f"{self.formatTime(record, self.datefmt)}.{record.msecs:03.0f}"
        message = self._clean(_message(record))
        traceback = self._clean(self.formatException(record.exc_info)) if record.exc_info else ""
        if self._as_json:
            line = {"time": time_ + "Z", "level": record.levelname.lower(), "logger": record.name, "message": message}
            return orjson.dumps(line | ({"traceback": traceback} if traceback else {})).decode()
        text = f"{time_} {record.levelname} {record.name} {message}" + (f"\n{traceback}" if traceback else "")
        # A traceback keeps its lines in the text log, each set off so that it cannot pass for a record.
        return text.replace("\n", "\n    | ")

    def _clean(self, text: str) -> str:
        """Before anything is escaped: a secret with a quotation mark in it would not be found in JSON."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return _CONTROL.sub(lambda match: ascii(match.group())[1:-1], text)


def configure(level: str, log_format: str, secrets: Sequence[str]) -> None:
    """Send all logs to standard error, as `text` or `json`; every occurrence of a secret is blanked."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Safe(secrets, log_format == "json"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These tell of every connection, or of every frame with its audio, at INFO or DEBUG.
    for noisy in ("urllib3", "twilio.http_client", "websocket", "websockets", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        # Its arguments do not fit: logging would print them as they are, secrets and all.
        return f"{record.msg!r} {record.args!r}"
