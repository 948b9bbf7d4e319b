"""Clips: words that are the same in many calls, synthesized once through ElevenLabs' SDK and kept on disk by content.

Shared by all calls of a worker. A clip that is not there yet is spoken by the call's own synthesizer, and fetched
behind its back for the next time.
"""

import base64
import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from elevenlabs.core.client_wrapper import SyncClientWrapper
from elevenlabs.text_to_speech.client import TextToSpeechClient

from voice import tls
from voice.core.audio import Audio, is_text
from voice.core.events import Alignment
from voice.errors import VendorRefused, VendorUnavailable

_FETCH_TIMEOUT_S = 10
_SPEAK_TIMEOUT_S = 4
_LONGEST_BYTES = 60_000 * 8
_IN_MEMORY = 200
_REFUSALS = (400, 401, 402, 403, 404, 422)

_log = logging.getLogger("voice.clips")


@dataclass(frozen=True)
class Clip:
    audio: Audio
    alignment: Alignment
    """The characters spread evenly: near enough to tell which word a caller cut short."""


@dataclass(frozen=True)
class Voice:
    """What makes the same words sound the same."""

    voice: str
    language: str
    settings: tuple[tuple[str, float], ...] = ()


class Clips:
    def __init__(self, url: str, key: str, model: str, directory: Path) -> None:
        """`url` is ElevenLabs' https address. The folder is made when the first clip is."""
        http = httpx.Client(verify=tls.CONTEXT, timeout=_FETCH_TIMEOUT_S, follow_redirects=True)
        wrapper = SyncClientWrapper(base_url=url, api_key=key, httpx_client=http, timeout=_FETCH_TIMEOUT_S)
        # Not as a part of `elevenlabs.client`, which is all of the SDK: a quarter of a second more, for which callers
        # wait when a server begins anew.
        self._speech = TextToSpeechClient(client_wrapper=wrapper)
        self._model = model
        self._directory = directory
        self._clips: dict[str, Clip] = {}
        # Names of clips that are being fetched: one fetch is enough for all calls.
        self._fetching: set[str] = set()

    def get(self, voice: Voice, text: str) -> Clip | None:
        """None when there is none yet."""
        name = self._name(voice, text)
        if name not in self._clips:
            try:
                mulaw = (self._directory / name).read_bytes()
            except OSError:
                return None
            self._keep(name, mulaw, text)
        return self._clips[name]

    def fetch(self, voice: Voice, text: str) -> None:
        """Have it synthesized and keep it; failure costs a log line. Blocks for as long as that takes."""
        name = self._name(voice, text)
        if name in self._fetching or name in self._clips:
            return
        self._fetching.add(name)
        try:
            mulaw = self._synthesize(voice, text)
            if mulaw:
                self._keep(name, mulaw, text)
                self._write(name, mulaw)
        except Exception as error:  # the SDK's, httpx's and the disk's: a clip is never worth a call
            _log.warning("a clip cannot be made: %s", ascii(str(error)[:300]))
        finally:
            self._fetching.discard(name)

    def synthesize(self, voice: Voice, text: str) -> Clip:
        """For the caller who waits for it; not kept. Raises VendorUnavailable or VendorRefused."""
        try:
            mulaw = self._synthesize(voice, text, _SPEAK_TIMEOUT_S)
        except Exception as error:  # the SDK's and httpx's
            status = getattr(error, "status_code", None)
            detail = ascii(f"a request failed: {status or type(error).__name__}: {getattr(error, 'body', error)}"[:300])
            if status in _REFUSALS:
                raise VendorRefused("synthesizer", detail, account=status == 401) from error
            raise VendorUnavailable("synthesizer", detail) from error
        audio = Audio(len(mulaw), base64.b64encode(mulaw).decode())
        return Clip(audio, spread(text, audio.ms))

    def _synthesize(self, voice: Voice, text: str, timeout_s: int = _FETCH_TIMEOUT_S) -> bytes:
        options: dict[str, Any] = {"voice_settings": dict(voice.settings)} if voice.settings else {}
        if self._model != "eleven_multilingual_v2":  # takes no language_code
            options["language_code"] = voice.language
        pieces = self._speech.stream(
            voice.voice,
            text=text,
            model_id=self._model,
            output_format="ulaw_8000",
            request_options={"max_retries": 0, "timeout_in_seconds": timeout_s},
            **options,
        )
        mulaw = b"".join(pieces)[:_LONGEST_BYTES]
        if is_text(mulaw):
            raise ValueError("a text came in the place of sound")
        return mulaw

    def _keep(self, name: str, mulaw: bytes, text: str) -> None:
        while len(self._clips) >= _IN_MEMORY:
            del self._clips[next(iter(self._clips))]
        audio = Audio(len(mulaw), base64.b64encode(mulaw).decode())
        self._clips[name] = Clip(audio, spread(text, audio.ms))

    def _write(self, name: str, mulaw: bytes) -> None:
        """Whole or not at all: another worker may read it at any moment."""
        self._directory.mkdir(parents=True, exist_ok=True)
        part = self._directory / f"{name}.{os.getpid()}.part"
        part.write_bytes(mulaw)
        part.replace(self._directory / name)

    def _name(self, voice: Voice, text: str) -> str:
        content = "\n".join((self._model, voice.voice, voice.language, repr(voice.settings), text))
        return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:32] + ".ulaw"


def spread(text: str, ms: float) -> Alignment:
    """The letters of a text over the length of its sound."""
    each = ms / max(1, len(text))
    starts = tuple(int(place * each) for place in range(len(text)))
    return Alignment(text, starts, (max(1, int(each)),) * len(text))
