"""The environment: what is taken, what is refused, and that a refusal says everything but the secrets."""

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from dotenv import dotenv_values

from config.faults import ConfigError
from config.settings import Settings

ROOT = Path(__file__).parents[2]
SECRETS = ("TWILIO_AUTH_TOKEN", "OPENAI_API_KEY", "XAI_API_KEY", "ELEVENLABS_API_KEY")
REQUIRED = {
    "PUBLIC_URL": "https://voice.example.com",
    "TWILIO_ACCOUNT_SID": "AC" + "0123456789abcdef" * 2,
    **{name: f"secret-of-{name}" for name in SECRETS},
}


def faults_of(environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(environ)
    return caught.value.faults


def fault_of(name: str, value: str) -> str:
    """The one fault that `name` = `value` makes in an environment that is good otherwise."""
    (fault,) = faults_of({**REQUIRED, name: value})
    assert fault.startswith(f"{name} ") and "; allowed: " in fault
    return fault


def test_the_required_variables_are_enough_and_the_rest_has_the_documented_defaults() -> None:
    settings = Settings.from_env(REQUIRED)
    assert (settings.port, settings.web_concurrency, settings.max_calls) == (8000, None, 200)
    assert (settings.idle_timeout_s, settings.monitor_interval_s) == (300, 60)
    assert (settings.log_level, settings.log_format) == ("info", "text")
    assert settings.twilio_api_base_url == "https://api.twilio.com"
    assert settings.openai_realtime_url == "wss://api.openai.com/v1/realtime"
    assert (settings.openai_transcription_model, settings.openai_audio_format) == ("gpt-live-transcribe", "pcmu")
    assert (settings.xai_base_url, settings.xai_model) == ("https://api.x.ai/v1", "grok-4.20-non-reasoning")
    assert settings.elevenlabs_model == "eleven_flash_v2_5"
    assert (settings.elevenlabs_http_url, settings.elevenlabs_ws_url) == (
        "https://api.elevenlabs.io",
        "wss://api.elevenlabs.io",
    )
    assert settings.database_url == "sqlite:///voice.db"
    assert (settings.default_agent, settings.call_log_dir) == ("receptionist", Path("calls"))
    assert settings.agents_dir == ROOT / "config" / "agents"


def test_every_variable_reaches_the_field_of_its_name() -> None:
    given = {
        **REQUIRED,
        "PORT": "9001",
        "WEB_CONCURRENCY": "3",
        "TWILIO_API_BASE_URL": "http://127.0.0.1:9100",
        "OPENAI_REALTIME_URL": "ws://127.0.0.1:9200/v1/realtime",
        "OPENAI_TRANSCRIPTION_MODEL": "gpt-4o-transcribe",
        "OPENAI_AUDIO_FORMAT": "pcm24k",
        "XAI_BASE_URL": "http://127.0.0.1:9300/v1",
        "XAI_MODEL": "grok-4.3",
        "XAI_FALLBACK_MODEL": "grok-4.20-non-reasoning",
        "ELEVENLABS_BASE_URL": "ws://127.0.0.1:9400",
        "ELEVENLABS_MODEL": "eleven_multilingual_v2",
        "MAX_CALLS": "7",
        "MAX_MEMORY_MB": "500",
        "IDLE_TIMEOUT_S": "1.5",
        "MONITOR_INTERVAL_S": "0.25",
        "DRAIN_TIMEOUT_S": "25",
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
        "DEFAULT_AGENT": "night-desk_2",
        "AGENTS_DIR": "elsewhere/agents",
        "CALL_LOG_DIR": "/var/lib/voice",
        "CLIPS_DIR": "/var/lib/clips",
        "RECORDINGS_DIR": "/var/lib/recordings",
        "DATABASE_URL": "postgres://voice:pass%2Fword@db.example.com:5432/voice?sslmode=require",
        "TWILIO_PHONE_NUMBER": "+15551234567",
        "API_TOKEN": "a-token-that-nobody-guesses",
        "OUTBOUND_PREFIXES": "+1,+44",
        "OUTBOUND_PER_MINUTE": "5",
        "OUTBOUND_PER_DAY": "50",
        "OUTBOUND_MINUTES_PER_DAY": "600",
        "CALLS_PER_SECOND": "20",
        "CALLS_PER_NUMBER": "12",
        "COST_PER_CALL": "2.5",
        "COST_PER_DAY": "100.25",
        "RETENTION_DAYS": "90",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=abc%20def,x-team=voice",
        "OTEL_SERVICE_NAME": "front-desk",
    }
    settings = Settings.from_env(given)
    assert {field.name.upper() for field in fields(settings)} == set(given)
    for name, value in given.items():
        read = getattr(settings, name.lower())
        read = ",".join(read) if isinstance(read, tuple) else read
        assert str(read) == value or read == float(value), name


def test_settings_cannot_be_changed_and_do_not_show_secrets() -> None:
    settings = Settings.from_env(REQUIRED)
    with pytest.raises(FrozenInstanceError):
        settings.port = 1  # type: ignore[misc]
    assert "secret-of" not in repr(settings)


def test_every_fault_is_listed_at_once() -> None:
    faults = faults_of({"PORT": "http", "LOG_FORMAT": "yaml", "MAX_CALLS": "0"})
    assert [fault.split()[0] for fault in faults] == [
        "PORT",
        "PUBLIC_URL",
        "TWILIO_ACCOUNT_SID",
        "TWILIO_AUTH_TOKEN",
        "OPENAI_API_KEY",
        "XAI_API_KEY",
        "ELEVENLABS_API_KEY",
        "MAX_CALLS",
        "LOG_FORMAT",
    ]


def test_the_message_has_the_count_and_every_fault() -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.from_env({**REQUIRED, "PORT": "0", "LOG_LEVEL": "loud"})
    assert str(caught.value).splitlines() == [
        "The configuration has 2 faults:",
        "  PORT is '0'; allowed: a whole number from 1 to 65535",
        "  LOG_LEVEL is 'loud'; allowed: info, debug, warning, error, critical",
    ]


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("blank", ["", "  ", "\t\n"])
def test_blank_is_missing(name: str, blank: str) -> None:
    assert f"{name} is missing" in fault_of(name, blank)


def test_blank_means_the_default_where_there_is_one() -> None:
    settings = Settings.from_env(
        {**REQUIRED, "PORT": " ", "LOG_LEVEL": "", "XAI_BASE_URL": "\t", "WEB_CONCURRENCY": ""}
    )
    assert settings == Settings.from_env(REQUIRED)


def test_blanks_around_a_value_and_the_case_of_a_choice_do_not_matter() -> None:
    settings = Settings.from_env({**REQUIRED, "PORT": " 81 ", "LOG_LEVEL": "INFO", "XAI_API_KEY": "key\n"})
    assert (settings.port, settings.log_level, settings.xai_api_key) == (81, "info", "key")


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("value", ["top secret", '"quoted-secret"', "secr\u00e9t", "sec\nret"])
def test_a_bad_secret_is_refused_and_never_shown(name: str, value: str) -> None:
    fault = fault_of(name, value)
    assert not any(part in fault for part in value.split()), fault


def test_a_key_in_the_wrong_place_is_not_shown() -> None:
    key = "sk-0123456789abcdef0123456789abcdef"
    for name in ("PORT", "TWILIO_ACCOUNT_SID", "XAI_MODEL", "LOG_LEVEL", "OPENAI_AUDIO_FORMAT", "PUBLIC_URL"):
        assert key not in fault_of(name, key + " ?")


@pytest.mark.parametrize("name", ["PORT", "WEB_CONCURRENCY", "MAX_CALLS"])
@pytest.mark.parametrize(
    "value", ["0", "-1", "1.5", "nan", "inf", "1_000", "0x10", "\u0661\u0662", "65536", "9" * 5000]
)
def test_bad_whole_numbers(name: str, value: str) -> None:
    assert "a whole number from 1 to" in fault_of(name, value)


@pytest.mark.parametrize("name", ["IDLE_TIMEOUT_S", "MONITOR_INTERVAL_S"])
@pytest.mark.parametrize("value", ["0", "0.0", "-3", "nan", "inf", "-inf", "1e400", "5m", "999999999"])
def test_bad_seconds(name: str, value: str) -> None:
    assert "seconds from 0.1 to" in fault_of(name, value)


@pytest.mark.parametrize(
    "value",
    [
        "voice.example.com",
        "http://voice.example.com",
        "wss://voice.example.com",
        "https://",
        "https:///voice",
        "https://voice.example.com/app",
        "https://voice.example.com?x=1",
        "https://voice.example.com?",
        "https://voice.example.com#top",
        "https://voice.example.com:",
        "https://voice.example.com:0",
        "https://voice.example.com:66000",
        "https://voice.example.com:http",
        "https://user:hunter2@voice.example.com",
        "https://voice example.com",
        "https://voice.exa\nmple.com",
        "https://voic\u00e9.example.com",
        "https://-voice.example.com",
        "https://[::1",
    ],
)
def test_bad_public_urls(value: str) -> None:
    assert "hunter2" not in fault_of("PUBLIC_URL", value)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("https://voice.example.com/", "https://voice.example.com"),
        ("HTTPS://voice.example.com", "https://voice.example.com"),
        ("https://voice.example.com:8443", "https://voice.example.com:8443"),
        ("https://[::1]:8443/", "https://[::1]:8443"),
    ],
)
def test_good_public_urls(value: str, read: str) -> None:
    assert Settings.from_env({**REQUIRED, "PUBLIC_URL": value}).public_url == read


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TWILIO_API_BASE_URL", "ftp://127.0.0.1"),
        ("OPENAI_REALTIME_URL", "https://api.openai.com/v1/realtime"),
        ("OPENAI_REALTIME_URL", "wss://api.openai.com/v1/realtime?model=gpt-realtime"),
        ("XAI_BASE_URL", "wss://api.x.ai/v1"),
        ("ELEVENLABS_BASE_URL", "api.elevenlabs.io"),
    ],
)
def test_bad_addresses(name: str, value: str) -> None:
    fault_of(name, value)


@pytest.mark.parametrize("scheme", ["http", "ws", "https", "wss"])
def test_elevenlabs_has_both_addresses_from_either(scheme: str) -> None:
    settings = Settings.from_env({**REQUIRED, "ELEVENLABS_BASE_URL": f"{scheme}://127.0.0.1:9400/"})
    secure = "s" if scheme in ("https", "wss") else ""
    assert settings.elevenlabs_http_url == f"http{secure}://127.0.0.1:9400"
    assert settings.elevenlabs_ws_url == f"ws{secure}://127.0.0.1:9400"


@pytest.mark.parametrize(
    "value",
    [
        "sqlite:////var/lib/voice/voice.db",
        "postgresql://voice:hunter2@db.example.com/voice",
        "postgres://voice:hunter2@[::1]:5432/voice?sslmode=require",
        "postgresql:///voice?host=/run/postgresql",
    ],
)
def test_databases(value: str) -> None:
    settings = Settings.from_env({**REQUIRED, "DATABASE_URL": f" {value}\n"})
    assert settings.database_url == value
    assert "hunter2" not in repr(settings)
    assert Settings.database_of({"DATABASE_URL": value}) == value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("voice.db", "wrong scheme"),
        ("mysql://voice:hunter2@localhost/voice", "wrong scheme"),
        ("postgresql+asyncpg://voice:hunter2@localhost/voice", "wrong scheme"),
        ("sqlite://", "names no database"),
        ("sqlite:///", "names no database"),
        ("sqlite:///:memory:", "no address of a file"),
        ("sqlite://voice.db/x", "no address of a file"),
        ("sqlite:///voice.db?mode=memory", "no address of a file"),
        ("postgresql://voice:hunter2@localhost", "names no database"),
        ("postgresql://voice:hunter2@localhost:66000/voice", "cannot be read"),
        ("postgresql://voice:hunter2@localhost:0/voice", "no valid port"),
        ("postgresql://voice:hunter2#@localhost/voice", "cannot be read"),
        ("postgresql://voice:hunter2@localhost/voice#x", "fragment"),
        ("postgresql://voice:hunter2 @localhost/voice", "blanks"),
    ],
)
def test_bad_databases(value: str, said: str) -> None:
    fault = fault_of("DATABASE_URL", value)
    assert said in fault and "hunter2" not in fault
    with pytest.raises(ConfigError, match="DATABASE_URL") as caught:
        Settings.database_of({"DATABASE_URL": value})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", ["AC123", "AC" + "g" * 32, "SK" + "0" * 32, "AC" + "0" * 33])
def test_bad_account_sids(value: str) -> None:
    assert value not in fault_of("TWILIO_ACCOUNT_SID", value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ELEVENLABS_MODEL", "eleven_v3", "not served"),
        ("ELEVENLABS_MODEL", "eleven_v3_conversational", "not served"),
        ("ELEVENLABS_MODEL", "eleven_v4_turbo", "not served"),
        ("ELEVENLABS_MODEL", "eleven flash", "no model name"),
        ("XAI_MODEL", "grok-4-fast-non-reasoning", "retired"),
        ("XAI_MODEL", "grok 4", "no model name"),
        ("OPENAI_TRANSCRIPTION_MODEL", "gpt-live-transcibe", "did you mean gpt-live-transcribe?"),
        ("OPENAI_TRANSCRIPTION_MODEL", "gpt-4o-transcribe-diarize", "gpt-transcribe"),
        ("OPENAI_AUDIO_FORMAT", "pcm16", "pcmu, pcm24k"),
        ("LOG_LEVEL", "verbose", "info, debug"),
        ("LOG_FORMAT", "xml", "text, json"),
        ("DEFAULT_AGENT", "../receptionist", "a-z 0-9 _ -"),
        ("DEFAULT_AGENT", "Receptionist", "a-z 0-9 _ -"),
    ],
)
def test_bad_choices(name: str, value: str, said: str) -> None:
    assert said in fault_of(name, value)


def test_traces_go_to_an_address_with_headers_that_nobody_is_shown() -> None:
    settings = Settings.from_env({**REQUIRED, "OTEL_EXPORTER_OTLP_HEADERS": "X-Key=open%20sesame,x-team=v=1"})
    assert settings.trace_headers == {"x-key": "open sesame", "x-team": "v=1"}
    assert "sesame" not in repr(settings)
    assert Settings.from_env(REQUIRED).trace_headers == {}
    assert "sesame" not in fault_of("OTEL_EXPORTER_OTLP_HEADERS", "Bearer sesame")
    assert "has the wrong scheme" in fault_of("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://localhost:4317")
    assert "'a b'" in fault_of("OTEL_SERVICE_NAME", "a b")


def test_a_fault_is_ascii_whatever_was_given() -> None:
    assert fault_of("LOG_LEVEL", "l\u00f6ud\udcff").isascii()


def test_the_example_file_names_every_variable_with_its_default() -> None:
    example = (ROOT / ".env.example").read_text()
    lines = [line.removeprefix("#") for line in example.splitlines() if "=" in line and " " not in line]
    given = dict(line.split("=", 1) for line in lines)
    assert {field.name.upper() for field in fields(Settings)} == set(given)
    # What is left blank there is missing or a default; what is filled in is the default.
    assert Settings.from_env({**given, **REQUIRED}) == Settings.from_env(REQUIRED)


def test_the_example_file_as_it_is_asks_for_the_required_variables() -> None:
    given = {name: value or "" for name, value in dotenv_values(ROOT / ".env.example").items()}
    assert {fault.split()[0] for fault in faults_of(given)} == set(REQUIRED)
