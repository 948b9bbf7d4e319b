"""The environment as typed values. Pure: a function of a mapping; every fault is listed at once."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit

from config.faults import ConfigError, shown, suggestion
from config.models import (
    LANGUAGE_MODEL_ALLOWED,
    SPEECH_MODEL_ALLOWED,
    TRANSCRIPTION_MODELS,
    language_model_fault,
    speech_model_fault,
)

AGENTS_DIR = Path(__file__).parent / "agents"

_ACCOUNT_SID = re.compile(r"AC[0-9a-fA-F]{32}")
_AGENT_NAME = re.compile(r"[a-z0-9_-]+")
# A header carries the keys: printable ASCII without spaces. Quotes are left over from a shell, never part of a key.
_SECRET = re.compile(r"[!#-&(-~]+")
# Left over from an example: with it every call would fail.
_PLACEHOLDER = re.compile(r"(?i)(your|insert|replace|paste|enter)[-_].*|change[-_]?me|placeholder|x{4,}|\*+|\.{3}|<.*>")
_TOKEN = re.compile(rf"{_SECRET.pattern[:-1]}{{20,}}")
_PHONE_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_PREFIX = re.compile(r"\+[1-9][0-9]{0,14}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
# As the standard has it: names and values of headers, percent-encoded, with commas between.
_HEADERS = re.compile(r"[A-Za-z0-9-]+=[!#-+\--~]+(,[A-Za-z0-9-]+=[!#-+\--~]+)*")
_SERVICE_NAME = re.compile(r"[A-Za-z0-9._/-]{1,100}")
_WHOLE = re.compile(r"[0-9]{1,9}")
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


@dataclass(frozen=True)
class Settings:
    """One field for each variable, named as the variable in lower case. Addresses end without a slash."""

    port: int
    web_concurrency: int | None
    """Worker processes; None: one for each core."""
    public_url: str
    """`https://host[:port]`: what Twilio calls, and what its signatures are made over."""
    twilio_account_sid: str
    twilio_auth_token: str = field(repr=False)
    twilio_api_base_url: str
    twilio_phone_number: str | None
    """The caller id of the calls that we place, E.164."""
    outbound_prefixes: tuple[str, ...]
    """The only numbers that may be called begin so; empty: all but those that nobody should call."""
    outbound_per_minute: int
    outbound_per_day: int
    """So many calls are placed, by all workers together."""
    outbound_minutes_per_day: int | None
    """So long the calls that are placed may last, all together; None: no limit."""
    calls_per_second: int
    """New calls for each worker; more wait a little, and many more are refused."""
    calls_per_number: int | None
    """Calls from one number within an hour, by all workers together; None: no limit."""
    cost_per_call: float | None
    """US dollars, reckoned from config/prices.toml; None: no limit."""
    cost_per_day: float | None
    """US dollars of the calls of 24 hours, by all workers together; None: no limit."""
    retention_days: int | None
    """Records of calls that are older are deleted; None: they stay."""
    api_token: str | None = field(repr=False)
    """Opens the REST API; None: nobody gets in."""
    openai_api_key: str = field(repr=False)
    openai_realtime_url: str
    """`ws(s)://` without a query: the transcriber adds `intent`."""
    openai_transcription_model: str
    openai_audio_format: str
    """`pcmu` or `pcm24k`."""
    xai_api_key: str = field(repr=False)
    xai_base_url: str
    xai_model: str
    xai_fallback_model: str | None
    """Asked when the first answer is late or fails; None: the same model again."""
    elevenlabs_api_key: str = field(repr=False)
    elevenlabs_base_url: str
    """As it was given: `http(s)://` or `ws(s)://`."""
    elevenlabs_model: str
    max_calls: int
    """Live calls for each worker."""
    max_memory_mb: int | None
    """A worker that uses more goes; None: its share of what the machine has."""
    idle_timeout_s: float
    monitor_interval_s: float
    drain_timeout_s: int
    """From SIGTERM to the last call handed over to another worker."""
    log_level: str
    """`debug`, `info`, `warning`, `error` or `critical`."""
    log_format: str
    """`text` or `json`."""
    otel_exporter_otlp_endpoint: str | None
    """A collector of traces, OTLP over HTTP: its base, without `/v1/traces`; None: nothing is traced."""
    otel_exporter_otlp_headers: str | None = field(repr=False)
    """As they were given: see `trace_headers`."""
    otel_service_name: str
    default_agent: str
    """The agent of a number that no agent claims."""
    agents_dir: Path
    call_log_dir: Path
    """Where each call leaves one file of JSON lines."""
    recordings_dir: Path
    """Where both sides of calls are kept as sound, if their agent says so."""
    clips_dir: Path
    """Where words that are the same in many calls are kept as sound."""
    database_url: str = field(repr=False)
    """`sqlite:///file`, `postgresql://…` or `postgres://…`, with the password if it has one."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """The settings in `environ`. Raises ConfigError, which lists every fault and shows no secret."""
        env = _Environment(environ)
        settings = cls(
            port=env.whole("PORT", "8000", 1, 65535),
            web_concurrency=env.whole("WEB_CONCURRENCY", "1", 1, 1000) if env.given("WEB_CONCURRENCY") else None,
            public_url=env.public_url("PUBLIC_URL"),
            twilio_account_sid=env.account_sid("TWILIO_ACCOUNT_SID"),
            twilio_auth_token=env.secret("TWILIO_AUTH_TOKEN"),
            twilio_api_base_url=env.url("TWILIO_API_BASE_URL", "https://api.twilio.com", ("https", "http")),
            twilio_phone_number=env.phone_number("TWILIO_PHONE_NUMBER"),
            outbound_prefixes=env.prefixes("OUTBOUND_PREFIXES"),
            outbound_per_minute=env.whole("OUTBOUND_PER_MINUTE", "60", 0, 100000),
            outbound_per_day=env.whole("OUTBOUND_PER_DAY", "1000", 0, 10000000),
            outbound_minutes_per_day=env.optional_whole("OUTBOUND_MINUTES_PER_DAY", 0, 10000000),
            calls_per_second=env.whole("CALLS_PER_SECOND", "50", 1, 1000),
            calls_per_number=env.optional_whole("CALLS_PER_NUMBER", 1, 1000000),
            cost_per_call=env.dollars("COST_PER_CALL"),
            cost_per_day=env.dollars("COST_PER_DAY"),
            retention_days=env.optional_whole("RETENTION_DAYS", 1, 36500),
            api_token=env.token("API_TOKEN"),
            openai_api_key=env.secret("OPENAI_API_KEY"),
            openai_realtime_url=env.url("OPENAI_REALTIME_URL", "wss://api.openai.com/v1/realtime", ("wss", "ws")),
            openai_transcription_model=env.choice("OPENAI_TRANSCRIPTION_MODEL", TRANSCRIPTION_MODELS),
            openai_audio_format=env.choice("OPENAI_AUDIO_FORMAT", ("pcmu", "pcm24k")),
            xai_api_key=env.secret("XAI_API_KEY"),
            xai_base_url=env.url("XAI_BASE_URL", "https://api.x.ai/v1", ("https", "http")),
            xai_model=env.model("XAI_MODEL", "grok-4.20-non-reasoning", language_model_fault, LANGUAGE_MODEL_ALLOWED),
            xai_fallback_model=env.optional_model("XAI_FALLBACK_MODEL", language_model_fault, LANGUAGE_MODEL_ALLOWED),
            elevenlabs_api_key=env.secret("ELEVENLABS_API_KEY"),
            elevenlabs_base_url=env.url(
                "ELEVENLABS_BASE_URL", "https://api.elevenlabs.io", ("https", "http", "wss", "ws")
            ),
            elevenlabs_model=env.model(
                "ELEVENLABS_MODEL", "eleven_flash_v2_5", speech_model_fault, SPEECH_MODEL_ALLOWED
            ),
            max_calls=env.whole("MAX_CALLS", "200", 1, 5000),
            max_memory_mb=env.optional_whole("MAX_MEMORY_MB", 64, 1000000),
            idle_timeout_s=env.seconds("IDLE_TIMEOUT_S", "300", 0.1, 86400),
            monitor_interval_s=env.seconds("MONITOR_INTERVAL_S", "60", 0.1, 3600),
            drain_timeout_s=env.whole("DRAIN_TIMEOUT_S", "20", 5, 600),
            log_level=env.choice("LOG_LEVEL", ("info", "debug", "warning", "error", "critical")),
            log_format=env.choice("LOG_FORMAT", ("text", "json")),
            otel_exporter_otlp_endpoint=env.optional_url("OTEL_EXPORTER_OTLP_ENDPOINT", ("https", "http")),
            otel_exporter_otlp_headers=env.headers("OTEL_EXPORTER_OTLP_HEADERS"),
            otel_service_name=env.service_name("OTEL_SERVICE_NAME", "voice"),
            default_agent=env.agent_name("DEFAULT_AGENT", "receptionist"),
            agents_dir=env.path("AGENTS_DIR", AGENTS_DIR),
            call_log_dir=env.path("CALL_LOG_DIR", Path("calls")),
            recordings_dir=env.path("RECORDINGS_DIR", Path("recordings")),
            clips_dir=env.path("CLIPS_DIR", Path("clips")),
            database_url=env.database_url(),
        )
        if env.faults:
            raise ConfigError(env.faults)
        return settings

    @staticmethod
    def database_of(environ: Mapping[str, str]) -> str:
        """The database alone, for those who need nothing else. Raises ConfigError, which does not show it."""
        env = _Environment(environ)
        url = env.database_url()
        if env.faults:
            raise ConfigError(env.faults)
        return url

    @property
    def trace_headers(self) -> dict[str, str]:
        """What goes with every request to the collector of traces."""
        pairs = (pair.partition("=") for pair in (self.otel_exporter_otlp_headers or "").split(",") if pair)
        return {name.lower(): unquote(value) for name, _, value in pairs}

    @property
    def elevenlabs_http_url(self) -> str:
        """The base for requests, `http(s)://`."""
        return re.sub("^ws", "http", self.elevenlabs_base_url)

    @property
    def elevenlabs_ws_url(self) -> str:
        """The base for sockets, `ws(s)://`."""
        return re.sub("^http", "ws", self.elevenlabs_base_url)


class _Environment:
    """Reads one variable after the other. A bad one adds to `faults` and reads as its default, so that all are read."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.faults: list[str] = []

    def given(self, name: str) -> str:
        """The value without the blanks around it; empty when the variable is missing or blank."""
        return self._environ.get(name, "").strip()

    def secret(self, name: str) -> str:
        vendor = name.partition("_")[0].lower()
        value = self._required(
            name, _SECRET, f"what {vendor}'s console shows: printable ASCII without spaces and quotes"
        )
        if _PLACEHOLDER.fullmatch(value):
            self._refuse(name, "is a placeholder", "the key itself")
        return value

    def token(self, name: str) -> str | None:
        """Long enough that nobody guesses it."""
        if not self.given(name):
            return None
        return self._required(name, _TOKEN, "at least 20 printable ASCII characters without spaces and quotes")

    def prefixes(self, name: str) -> tuple[str, ...]:
        given = tuple(part.strip() for part in self.given(name).split(",") if part.strip())
        wrong = next((part for part in given if not _PREFIX.fullmatch(part)), None)
        if wrong is not None:
            self._refuse(name, f"has {shown(wrong)}", "beginnings of E.164 numbers with commas between, such as +1,+44")
            return ()
        return given

    def phone_number(self, name: str) -> str | None:
        if not self.given(name):
            return None
        return self._required(name, _PHONE_NUMBER, "a number in E.164 form such as +15551234567")

    def account_sid(self, name: str) -> str:
        return self._required(name, _ACCOUNT_SID, "AC and 32 hexadecimal digits, from the Twilio console")

    def agent_name(self, name: str, default: str) -> str:
        value = self.given(name) or default
        if not _AGENT_NAME.fullmatch(value):
            self._refuse(name, f"is {shown(value)}", "the name of an agent's file without .toml: a-z 0-9 _ -")
        return value

    def model(self, name: str, default: str, fault_of: Callable[[str], str | None], allowed: str) -> str:
        value = self.given(name) or default
        fault = fault_of(value)
        if fault:
            self._refuse(name, f"is {shown(value)}, which {fault}", allowed)
        return value

    def optional_model(self, name: str, fault_of: Callable[[str], str | None], allowed: str) -> str | None:
        return self.model(name, "", fault_of, allowed) if self.given(name) else None

    def choice(self, name: str, allowed: Sequence[str]) -> str:
        """One of `allowed`, of which the first is the default."""
        value = self.given(name).lower() or allowed[0]
        if value not in allowed:
            self._refuse(name, f"is {shown(value)}{suggestion(value, allowed)}", ", ".join(allowed))
        return value

    def whole(self, name: str, default: str, low: int, high: int) -> int:
        value = self.given(name) or default
        if _WHOLE.fullmatch(value) and low <= int(value) <= high:
            return int(value)
        self._refuse(name, f"is {shown(value)}", f"a whole number from {low} to {high}")
        return low

    def optional_whole(self, name: str, low: int, high: int) -> int | None:
        return self.whole(name, str(low), low, high) if self.given(name) else None

    def dollars(self, name: str) -> float | None:
        value = self.given(name)
        if not value:
            return None
        if _DECIMAL.fullmatch(value) and float(value) > 0:
            return float(value)
        self._refuse(name, f"is {shown(value)}", "US dollars, more than 0, such as 25 or 0.5")
        return None

    def seconds(self, name: str, default: str, low: float, high: float) -> float:
        value = self.given(name) or default
        if _DECIMAL.fullmatch(value) and low <= float(value) <= high:
            return float(value)
        self._refuse(name, f"is {shown(value)}", f"seconds from {low} to {high}")
        return low

    def path(self, name: str, default: Path) -> Path:
        return Path(self.given(name) or default)

    def url(self, name: str, default: str, schemes: Sequence[str]) -> str:
        return self._address(name, self.given(name) or default, schemes)

    def optional_url(self, name: str, schemes: Sequence[str]) -> str | None:
        return self._address(name, self.given(name), schemes) if self.given(name) else None

    def headers(self, name: str) -> str | None:
        """The value is not shown: most of them carry a key."""
        if not self.given(name):
            return None
        return self._required(name, _HEADERS, "name=value,name=value, percent-encoded")

    def service_name(self, name: str, default: str) -> str:
        value = self.given(name) or default
        if not _SERVICE_NAME.fullmatch(value):
            self._refuse(name, f"is {shown(value)}", "up to 100 of A-Z a-z 0-9 . _ / -")
        return value

    def public_url(self, name: str) -> str:
        allowed = "https://host or https://host:port, such as https://voice.example.com"
        if not self.given(name):
            self._refuse(name, "is missing", allowed)
            return ""
        address = self._address(name, self.given(name), ("https",))
        if address and urlsplit(address).path:
            self._refuse(name, "has a path", allowed)
        return address

    def database_url(self) -> str:
        value = self.given("DATABASE_URL") or "sqlite:///voice.db"
        fault = _database_fault(value)
        if fault:
            self._refuse("DATABASE_URL", fault, "sqlite:///file or postgresql://user:password@host:port/database")
        return value

    def _required(self, name: str, pattern: re.Pattern[str], allowed: str) -> str:
        value = self.given(name)
        if not value:
            self._refuse(name, "is missing", allowed)
        elif not pattern.fullmatch(value):
            self._refuse(name, "has the wrong form", allowed)
        return value

    def _address(self, name: str, value: str, schemes: Sequence[str]) -> str:
        fault = _address_fault(value, schemes)
        if fault:
            # The value itself stays unsaid: an address may carry a password.
            self._refuse(name, fault, " or ".join(f"{scheme}://host[:port]" for scheme in schemes) + ", no ? or #")
            return ""
        parts = urlsplit(value)
        return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"

    def _refuse(self, name: str, wrong: str, allowed: str) -> None:
        self.faults.append(f"{name} {wrong}; allowed: {allowed}")


def _address_fault(value: str, schemes: Sequence[str]) -> str | None:
    """What is wrong with an address, without showing it."""
    # urlsplit drops tabs and line ends silently, so what it would pass is not what was written.
    if not value.isprintable() or " " in value:
        return "has blanks or control characters"
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return "has a host or port that cannot be read"
    if parts.scheme not in schemes:
        return "has the wrong scheme"
    return _authority_fault(parts, port) or ("has a query or fragment" if "?" in value or "#" in value else None)


def _database_fault(value: str) -> str | None:
    """What is wrong with a database's address, without showing it: it may carry a password."""
    if not value.isprintable() or " " in value:
        return "has blanks or control characters"
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return "has a host or port that cannot be read"
    if parts.scheme not in ("sqlite", "postgresql", "postgres"):
        return "has the wrong scheme"
    if port == 0 or not parts.path.strip("/"):
        return "has no valid port" if port == 0 else "names no database"
    # In memory each connection would have a database of its own.
    if parts.scheme == "sqlite" and (parts.netloc or "?" in value or "#" in value or ":memory:" in value):
        return "is no address of a file"
    return "has a fragment: write # as %23" if "#" in value else None


def _authority_fault(parts: SplitResult, port: int | None) -> str | None:
    if "@" in parts.netloc:
        return "has a user or password"
    if not _HOST.fullmatch(parts.hostname or ""):
        return "has no valid host"
    return "has no valid port" if port == 0 or parts.netloc.endswith(":") else None
