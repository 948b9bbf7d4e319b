"""Which models of the vendors can carry a call, as their documentation of November 2026 has it."""

import re

TRANSCRIPTION_MODELS = (
    "gpt-live-transcribe",
    "gpt-realtime-whisper",
    "gpt-transcribe",
    # The family with server VAD; OpenAI ends it on 2027-02-26. Its "-diarize" member speaks in other events.
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15",
)

# xAI retired these on 2026-05-15: the slugs still answer, but as another model at another price.
RETIRED_LANGUAGE_MODELS = frozenset(
    {
        "grok-3",
        "grok-4-0709",
        "grok-4-fast-reasoning",
        "grok-4-fast-non-reasoning",
        "grok-4-1-fast-reasoning",
        "grok-4-1-fast-non-reasoning",
        "grok-code-fast-1",
    }
)
LANGUAGE_MODEL_ALLOWED = "an xAI model such as grok-4.20-non-reasoning or grok-4.3"

# ElevenLabs serves these only on its text-to-dialogue socket, which speaks another protocol.
_DIALOGUE_ONLY = re.compile(r"eleven_v[34](_.*)?", re.ASCII)
SPEECH_MODEL_ALLOWED = "a model of the multi-stream-input socket such as eleven_flash_v2_5"

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}", re.ASCII)


def language_model_fault(slug: str) -> str | None:
    """Why xAI's `slug` cannot be used, or None."""
    if slug in RETIRED_LANGUAGE_MODELS:
        return "was retired by xAI on 2026-05-15"
    return None if _SLUG.fullmatch(slug) else "is no model name"


def speech_model_fault(model: str) -> str | None:
    """Why ElevenLabs' `model` cannot be used, or None."""
    if _DIALOGUE_ONLY.fullmatch(model):
        return "is not served on the socket that calls use"
    return None if _SLUG.fullmatch(model) else "is no model name"
