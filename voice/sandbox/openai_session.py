"""One transcription session: its handler's greenlet reads the client; a greenlet per commit finishes the transcript."""

import binascii
import itertools
import time
from collections.abc import Callable, MutableSequence
from dataclasses import dataclass, field
from typing import Any

import gevent
import orjson

from voice.sandbox import faults
from voice.sandbox.delays import Delays
from voice.sandbox.openai_config import Config, Refused, default_config, model_of, updated
from voice.sandbox.openai_events import TRANSCRIPTION, Item, deltas, described_item, described_session
from voice.sandbox.openai_hearing import Hearing, Started, VoiceActivity
from voice.sandbox.served_socket import ServedSocket

_MIN_COMMIT_MS = 100
_numbers = itertools.count(1)
_APPEND = b'{"type":"input_audio_buffer.append","audio":"'
_AUDIO = slice(len(_APPEND), -2)


@dataclass(eq=False)
class Session:
    """What one client did, for tests to read; the stand-in keeps all that ever connected."""

    socket: ServedSocket
    hearing: Hearing
    delays: Delays
    faults: MutableSequence[object]
    listen: Callable[[bytes], str] | None
    """Mu-law to words, for speech that is not coded; may take its time."""
    kind: str = "transcription"
    """`realtime` when a model stood in the URL: such a session refuses every transcription update."""
    config: Config = field(default_factory=default_config)
    """What the client set: format, transcription, turn_detection and so on."""
    appends: int = 0
    commits: int = 0
    received: list[str] = field(default_factory=list)
    """Types of the client's events, in order, without the appends."""
    errors: list[str] = field(default_factory=list)
    """Codes of the error events sent."""
    committed_at: list[float] = field(default_factory=list)
    """`time.monotonic()` of each commit that was taken."""
    speech_started_at: list[float] = field(default_factory=list)
    """When the client was told that speech began."""
    deltas_at: list[float] = field(default_factory=list)
    """When each piece of a transcript went out."""
    finals: list[str] = field(default_factory=list)
    """Final transcripts sent."""
    finals_at: list[float] = field(default_factory=list)
    """When each of them went out."""
    connected_at: float = field(default_factory=time.monotonic)
    updated_at: float | None = None
    closed: bool = False
    close_code: int | None = None
    _id: str = field(default_factory=lambda: f"sess_{next(_numbers):016x}")
    _expires_at: int = 0
    _vad: VoiceActivity | None = None
    _item_id: str | None = None
    _previous_item_id: str | None = None
    _finishing: list[gevent.Greenlet] = field(default_factory=list)

    @property
    def audio(self) -> bytes:
        """The mu-law received, in order; empty when the stand-in keeps no audio."""
        return bytes(self.hearing.audio)

    @property
    def audio_ms(self) -> int:
        return self.hearing.now_ms

    def run(self, lifetime_s: float) -> None:
        """Serve until either side closes."""
        expiry = gevent.spawn_later(lifetime_s, self._expire)
        self._expires_at = int(time.time() + lifetime_s)
        try:
            self.send("session.created", session=self._described())
            self._meet("connect")
            while (message := self.socket.receive()) is not None:
                self._answer(message)
        finally:
            gevent.killall([expiry, *self._finishing], block=False)
            self.socket.finish()
            self.closed, self.close_code = True, self.socket.close_code

    def send(self, type_: str, **fields: object) -> None:
        self.socket.send({"type": type_, "event_id": f"event_{next(_numbers)}", **fields})

    def send_error(self, refused: Refused, event_id: object = None, kind: str = "invalid_request_error") -> None:
        self.errors.append(refused.code)
        error = {"type": kind, "code": refused.code, "message": refused.message, "param": refused.param}
        self.send("error", error={**error, "event_id": event_id})

    def _answer(self, message: bytes) -> None:
        # Nearly all there is, as nearly all clients write it.
        if message.startswith(_APPEND) and message.endswith(b'"}') and (audio := _decoded(message[_AUDIO])) is not None:
            return self._hear(audio)
        try:
            event = orjson.loads(message)
            type_ = event["type"]
        except (ValueError, TypeError, KeyError):
            return self.send_error(Refused("invalid_event", "The message is not a JSON object with a type."))
        try:
            if type_ == "input_audio_buffer.append":
                self._append(event)
            else:
                self.received.append(type_)
                self._rare(type_, event)
        except Refused as refused:
            self.send_error(refused, event.get("event_id"))

    def _rare(self, type_: str, event: dict[str, Any]) -> None:
        match type_:
            case "session.update":
                self._update(event.get("session"))
            case "input_audio_buffer.commit":
                self._commit()
            case "input_audio_buffer.clear":
                self.hearing.empty()
                self._item_id = None
                self.send("input_audio_buffer.cleared")
            case _:
                raise Refused("invalid_value", f"Invalid value: '{type_}'.", "type")

    def _update(self, session: object) -> None:
        if self.kind == "realtime":
            message = "Passing a transcription session update event to a realtime session is not allowed."
            raise Refused("invalid_model", message, "session.type")
        config = updated(self.config, session)
        if fault := faults.take(self.faults, faults.ErrorAfterUpdate):
            return self.send_error(Refused(fault.code, fault.message, fault.param), kind=fault.kind)
        self.config = config
        self.hearing.set_format(config["format"]["type"])
        # The vendor loses what the buffer held when it is configured anew, and says nothing.
        self.hearing.empty()
        model, vad = model_of(config), config["turn_detection"]
        listens = model is not None and model.commits_itself and vad is not None
        self._vad = VoiceActivity(vad, self.hearing.now_ms) if listens else None
        self.updated_at = time.monotonic()
        self.send("session.updated", session=self._described())
        self._meet("update")

    def _append(self, event: dict[str, Any]) -> None:
        audio = _decoded(event.get("audio"))
        if audio is None:
            self.appends += 1
            raise Refused("invalid_value", "Invalid 'audio': expected base64-encoded audio bytes.", "audio")
        self._hear(audio)

    def _hear(self, audio: bytes) -> None:
        self.appends += 1
        mulaw = self.hearing.hear(audio)
        if self.faults:
            self._meet("append")
        model = model_of(self.config)
        if model is not None and model.live and (news := self.hearing.words.news(whole_words=True)):
            self._delta(self._item(), news)
        for turn in self._vad.hear(mulaw) if self._vad else ():
            if isinstance(turn, Started):
                self.speech_started_at.append(time.monotonic())
                self.send("input_audio_buffer.speech_started", audio_start_ms=turn.audio_ms, item_id=self._item())
            else:
                self.send("input_audio_buffer.speech_stopped", audio_end_ms=turn.audio_ms, item_id=self._item())
                self._commit()

    def _commit(self) -> None:
        self._meet("commit")
        buffered_ms = self.hearing.buffered_ms
        if buffered_ms < _MIN_COMMIT_MS:
            message = "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
            message += f"but buffer only has {buffered_ms}.00ms of audio."
            raise Refused("input_audio_buffer_commit_empty", message)
        self.commits += 1
        self.committed_at.append(time.monotonic())
        words = self.hearing.words
        text = words.text.strip()
        item = Item(self._item(), text, words.news(False), bytes(self.hearing.buffer), buffered_ms / 1000, self.config)
        self.hearing.empty()
        previous, self._item_id = self._previous_item_id, None
        self._previous_item_id = item.id
        self.send("input_audio_buffer.committed", previous_item_id=previous, item_id=item.id)
        for moment in ("added", "done"):
            self.send(f"conversation.item.{moment}", previous_item_id=previous, item=described_item(item.id))
        if self.config["transcription"] is not None:
            self._finishing = [greenlet for greenlet in self._finishing if not greenlet.dead]
            self._finishing.append(gevent.spawn(self._finish, item))

    def _finish(self, item: Item) -> None:
        late = faults.take(self.faults, faults.LateFinal)
        due = time.monotonic() + self.delays.final_ms / 1000 + (late.seconds if late else 0)
        text, untold = item.text, item.untold
        if not text and self.listen and item.mulaw:
            text = untold = self.listen(item.mulaw)
        gevent.sleep(max(0, due - time.monotonic()))
        for delta in deltas(untold, whole=item.config["transcription"]["model"] == "whisper-1"):
            self._delta(item.id, delta)
        if fault := faults.take(self.faults, faults.BeforeFinal):
            self.socket.send_raw(fault.raw.encode())
        self._final(item, text)

    def _final(self, item: Item, text: str) -> None:
        if faults.take(self.faults, faults.NoFinal):
            return
        place = {"item_id": item.id, "content_index": 0}
        if failed := faults.take(self.faults, faults.FailedFinal):
            error = {"type": "server_error", "code": failed.code, "message": "Transcription failed.", "param": None}
            return self.send(f"{TRANSCRIPTION}.failed", **place, error=error)
        self.finals.append(text)
        usage = {"type": "duration", "seconds": item.seconds}
        self.finals_at.append(time.monotonic())
        self.send(f"{TRANSCRIPTION}.completed", **place, transcript=text, usage=usage, logprobs=None)

    def _delta(self, item_id: str, delta: str) -> None:
        self.deltas_at.append(time.monotonic())
        self.send(f"{TRANSCRIPTION}.delta", item_id=item_id, content_index=0, delta=delta)

    def _item(self) -> str:
        """The item that the buffered audio will become."""
        if self._item_id is None:
            self._item_id = f"item_{next(_numbers):08x}"
        return self._item_id

    def _described(self) -> Config:
        return described_session(self._id, self.kind, self.config, self._expires_at)

    def _expire(self) -> None:
        message = "Your session hit the maximum duration of 60 minutes."
        self.send_error(Refused("session_expired", message))
        self.socket.close(1001, message)

    def _meet(self, moment: str) -> None:
        """Suffer the faults that wait for this moment."""
        for fault in list(self.faults):
            if isinstance(fault, faults.DropAt | faults.CloseAt) and fault.moment == moment:
                self.faults.remove(fault)
                if isinstance(fault, faults.CloseAt):
                    self.socket.close(fault.code, fault.reason)
                else:
                    self.socket.drop()
                return


def _decoded(base64: Any) -> bytes | None:
    """None for what is not base64."""
    try:
        return binascii.a2b_base64(base64, strict_mode=True)
    except (TypeError, ValueError):
        return None
