"""Shapes of what a transcription session says about itself (openai 3.54.0, `openai/types/realtime`)."""

from dataclasses import dataclass

from voice.sandbox.openai_config import Config

TRANSCRIPTION = "conversation.item.input_audio_transcription"


@dataclass(frozen=True)
class Item:
    """One commit on its way to a final transcript."""

    id: str
    text: str
    untold: str
    """What no delta has told yet."""
    mulaw: bytes
    """For the ears; empty without."""
    seconds: float
    config: Config


def described_session(id_: str, kind: str, config: Config, expires_at: int) -> Config:
    """`session` of `session.created` and `session.updated`: the whole configuration in effect.

    `expires_at` is in seconds since the epoch.
    """
    audio = {"input": {name: value for name, value in config.items() if name != "include"}}
    if kind == "realtime":
        return {"type": "realtime", "id": id_, "object": "realtime.session", "audio": audio}
    described = {"type": "transcription", "id": id_, "object": "realtime.transcription_session"}
    return {**described, "expires_at": expires_at, "audio": audio, "include": config["include"]}


def described_item(item_id: str) -> Config:
    content = [{"type": "input_audio", "transcript": None}]
    item = {"id": item_id, "object": "realtime.item", "type": "message", "role": "user"}
    return {**item, "status": "completed", "content": content}


def deltas(text: str, whole: bool) -> list[str]:
    """`text` in words, each with the space before it; concatenated they are `text` again."""
    if whole or not text:
        return [text] if text else []
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)]
