"""What a transcription session may be configured to, and the refusals (OpenAI Realtime, GA shape, November 2026).

A model that is missing here is refused as unknown: `gpt-4o-transcribe-diarize` exists at the vendor and is not played.
"""

from dataclasses import dataclass
from typing import Any

Config = dict[str, Any]


class Refused(Exception):
    """An error event to the client; the session goes on as it was."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


@dataclass(frozen=True)
class Model:
    takes: frozenset[str]
    """Which fields `transcription` may have besides `model`."""
    vad: bool = True
    """False: any turn detection but null is refused."""
    commits_itself: bool = True
    """Whether server VAD, where it is accepted, also ends the turn."""
    live: bool = False
    """Deltas come while the caller speaks, not after the commit."""


_OLDER = Model(frozenset({"language", "prompt"}))
MODELS = {
    "gpt-live-transcribe": Model(frozenset({"languages", "keywords", "prompt", "delay"}), vad=False, live=True),
    "gpt-realtime-whisper": Model(frozenset({"language", "delay"}), vad=False, live=True),
    # Accepts server VAD and then waits for a commit all the same: the harsher of two contradicting reports.
    "gpt-transcribe": Model(frozenset({"languages", "keywords", "prompt"}), commits_itself=False),
    "gpt-4o-transcribe": _OLDER,
    "gpt-4o-mini-transcribe": _OLDER,
    "gpt-4o-mini-transcribe-2025-12-15": _OLDER,
    "whisper-1": _OLDER,
}
_FIELDS = frozenset({"model", "language", "languages", "keywords", "prompt", "delay"})
_DELAYS = ("minimal", "low", "medium", "high", "xhigh")
SERVER_VAD: Config = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}


def default_config() -> Config:
    return {
        "format": {"type": "audio/pcm", "rate": 24000},
        "noise_reduction": None,
        "transcription": None,
        "turn_detection": dict(SERVER_VAD),
        "include": None,
    }


def model_of(config: Config) -> Model | None:
    transcription = config["transcription"]
    return MODELS[transcription["model"]] if transcription else None


def updated(config: Config, session: object) -> Config:
    """The configuration after a `session.update`; fields left out keep their value. Raises Refused."""
    session = _object(session, "session", {"type", "audio", "include"})
    if session.get("type") != "transcription":
        message = "Passing a realtime session update event to a transcription session is not allowed."
        raise Refused("invalid_value", message, "session.type")
    audio = _object(session.get("audio", {}), "session.audio", {"input"})
    known = {"format", "noise_reduction", "transcription", "turn_detection"}
    given = _object(audio.get("input", {}), "session.audio.input", known)
    after = dict(config)
    if "format" in given:
        after["format"] = _format(given["format"])
    if "noise_reduction" in given:
        after["noise_reduction"] = _noise_reduction(given["noise_reduction"])
    if "transcription" in given:
        after["transcription"] = _transcription(config["transcription"], given["transcription"])
    after["turn_detection"] = _turn_detection(after, given)
    if "include" in session:
        after["include"] = _include(session["include"])
    return after


def _object(value: object, param: str, known: set[str]) -> Config:
    if not isinstance(value, dict):
        raise Refused("invalid_type", f"Invalid type for '{param}': expected an object.", param)
    for name in value:
        if name not in known:
            raise Refused("unknown_parameter", f"Unknown parameter: '{param}.{name}'.", f"{param}.{name}")
    return value


def _invalid(param: str, message: str) -> Refused:
    return Refused("invalid_value", message, f"session.audio.input.{param}")


def _format(value: object) -> Config:
    given = _object(value, "session.audio.input.format", {"type", "rate"})
    match given.get("type"):
        case "audio/pcm" if given.get("rate", 24000) == 24000:
            return {"type": "audio/pcm", "rate": 24000}
        case "audio/pcm":
            raise _invalid("format.rate", "Only a 24000 Hz sample rate is supported for audio/pcm.")
        case "audio/pcmu" if "rate" not in given:
            return dict(given)
        case "audio/pcmu":
            raise Refused("unknown_parameter", "audio/pcmu has no rate.", "session.audio.input.format.rate")
        case other:
            raise _invalid("format.type", f"Invalid value: {other!r}. Supported here: 'audio/pcm', 'audio/pcmu'.")


def _noise_reduction(value: object) -> Config | None:
    if value is None:
        return None
    given = _object(value, "session.audio.input.noise_reduction", {"type", "strength"})
    if given.get("type") not in ("near_field", "far_field"):
        raise _invalid("noise_reduction.type", "Supported values are: 'near_field' and 'far_field'.")
    return dict(given)


def _transcription(before: Config | None, value: object) -> Config | None:
    if value is None:
        return None
    given = _object(value, "session.audio.input.transcription", set(_FIELDS))
    if "languages" in given and not given["languages"]:
        raise _invalid("transcription.languages", "languages must be a non-empty array.")
    merged = {name: value for name, value in {**(before or {}), **given}.items() if value is not None}
    model = MODELS.get(merged.get("model", ""))
    if model is None:
        message = f"The model {merged.get('model')!r} does not exist or you do not have access to it."
        raise Refused("model_not_found", message, "session.audio.input.transcription.model")
    if "language" in merged and "languages" in merged:
        raise _invalid("transcription.languages", "Only one of language and languages may be given.")
    for name in merged:
        if name != "model" and name not in model.takes:
            raise _invalid(f"transcription.{name}", f"{name} is not supported for {merged['model']}.")
    _check_transcription_values(merged)
    return merged


def _check_transcription_values(given: Config) -> None:
    if given.get("delay", "low") not in _DELAYS:
        raise _invalid("transcription.delay", f"delay must be one of {', '.join(_DELAYS)}.")
    for name in ("language", "prompt"):
        if not isinstance(given.get(name, ""), str):
            raise _invalid(f"transcription.{name}", f"{name} must be a string.")
    for name in ("languages", "keywords"):
        values = given.get(name, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise _invalid(f"transcription.{name}", f"{name} must be an array of strings.")
    for keyword in given.get("keywords", []):
        if any(character in keyword for character in "<>\r\n"):
            raise _invalid("transcription.keywords", "A keyword is one line without < and >.")


def _turn_detection(after: Config, given: Config) -> Config | None:
    model = model_of(after)
    allowed = model is None or model.vad
    if "turn_detection" not in given:
        return after["turn_detection"] if allowed else None
    value = given["turn_detection"]
    if value is None:
        return None
    if not allowed:
        raise _invalid("turn_detection", "Turn detection is not supported for this transcription model.")
    return {**SERVER_VAD, **_server_vad(value)}


def _server_vad(value: object) -> Config:
    known = {*SERVER_VAD, "create_response", "interrupt_response", "idle_timeout_ms"}
    given = _object(value, "session.audio.input.turn_detection", known)
    if given.get("type") != "server_vad":
        raise _invalid("turn_detection.type", "Only server_vad is supported for transcription sessions.")
    threshold = given.get("threshold", 0.5)
    if not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise _invalid("turn_detection.threshold", "threshold must be between 0 and 1.")
    for name in ("prefix_padding_ms", "silence_duration_ms"):
        ms = given.get(name, 0)
        if type(ms) is not int or ms < 0:
            raise _invalid(f"turn_detection.{name}", f"{name} must be an integer of at least 0.")
    return given


def _include(value: object) -> list[str] | None:
    known = "item.input_audio_transcription.logprobs"
    if value is None:
        return None
    if not isinstance(value, list) or any(item != known for item in value):
        raise Refused("invalid_value", f"Supported values are: '{known}'.", "session.include")
    return value
