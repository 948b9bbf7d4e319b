"""The server's log: one line per record, whatever text a caller or a vendor put into it, and never a secret.

All of a process goes the same way, gunicorn's own lines too: through `Output`, which nobody has to wait for.
"""

import logging
import re
import time
from collections.abc import Sequence
from types import TracebackType

import orjson

from voice.log_output import Output

# Line ends would forge records, escape sequences and changes of direction play tricks on whoever reads them.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_HIDDEN = "[secret]"
# What looks like a key of anybody's: OpenAI's, ElevenLabs', xAI's; what stands in an Authorization; a URL's password.
_KEYS = re.compile(
    r"\b(?:sk-|sk_|xai-)[A-Za-z0-9_-]{16,}"
    r"|(?<=bearer )[^\s\"',]{8,}|(?<=basic )[A-Za-z0-9+/=]{16,}"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)",
    re.IGNORECASE,
)
# At the end of the process: a pipe that nobody reads must not keep it.
_LAST_S = 1.0

_output = Output(2)
_log = logging.getLogger("voice.greenlets")


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
        text = _KEYS.sub(_HIDDEN, text)
        return _CONTROL.sub(lambda match: ascii(match.group())[1:-1], text)


class _Handler(logging.Handler):
    def createLock(self) -> None:
        """None is needed, and none is waited for: records come from greenlets, native threads and signal handlers."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:
            # What it was to say cannot be turned into text.
            what = f"{record.pathname}:{record.lineno}: {type(error).__name__}"
            record.msg, record.args, record.exc_info = "a record cannot be written: %s", (what,), None
            line = self.format(record)
        write(f"{line}\n")

    def flush(self) -> None:
        """logging asks for it when the process ends."""
        _output.flush(_LAST_S)


def configure(level: str, log_format: str, secrets: Sequence[str]) -> None:
    """Send all logs to standard error, as `text` or `json`; every occurrence of a secret is blanked."""
    handler = _Handler()
    handler.setFormatter(_Safe(secrets, log_format == "json"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These tell of every connection, or of every frame with its audio, at INFO or DEBUG.
    for noisy in (
        "urllib3",
        "twilio.http_client",
        "websocket",
        "websockets",
        "httpx",
        "httpcore",
        "alembic.runtime.plugins",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def write(text: str) -> None:
    """Text of our own as it is, in its turn among the records."""
    _output.write(text.encode(errors="backslashreplace"))


def flush() -> None:
    """Wait, with the whole process, until all is written; a second at most."""
    _output.flush(_LAST_S)


def greenlet_failed(
    context: object, kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """For gevent's hub, which would print to standard error itself: secrets, line ends, full pipe and all."""
    name = getattr(context, "name", None) or type(context).__name__
    _log.error("%s: failed and is no more", name, exc_info=(kind, error, traceback))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        # Its arguments do not fit: logging would print them as they are, secrets and all.
        return f"{record.msg!r} {record.args!r}"
