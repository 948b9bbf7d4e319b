"""The server's log: one line per record, whatever text a caller or a vendor put into it, and never a secret."""

import logging
import re
import sys
import time
from collections.abc import Sequence

import orjson

# Line ends would forge records, escape sequences play tricks on the terminal that shows them.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_HIDDEN = "[secret]"


class _Safe(logging.Formatter):
    def __init__(self, secrets: Sequence[str], as_json: bool) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime
        self._secrets = [secret for secret in secrets if secret]
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        text = self._json(record) if self._as_json else _CONTROL.sub(_escaped, super().format(record))
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        # A traceback keeps its lines in the text log, each set off so that it cannot pass for a record.
        return text.replace("\n", "\n    | ")

    def _json(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, self.datefmt) + f".{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage().encode("utf-8", "backslashreplace").decode(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


def configure(level: str, log_format: str, secrets: Sequence[str]) -> None:
    """Send all logs to standard error, as `text` or `json`; every occurrence of a secret is blanked."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Safe(secrets, log_format == "json"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These tell of every connection at INFO or DEBUG, headers and all.
    for noisy in ("urllib3", "twilio.http_client", "websocket"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _escaped(match: re.Match[str]) -> str:
    return "\\n" if match.group() == "\n" else ascii(match.group())[1:-1]
