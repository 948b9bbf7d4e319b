"""A simulated phone: one call through Twilio to a server, as its caller lives it, in blocking calls.

`dial()` starts the call on a greenlet of its own; everything else may be called from any greenlet.
Needs `gevent.monkey.patch_all()`.
"""

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import gevent

from voice.core.audio import BYTES_PER_MS
from voice.sandbox.call_plan import CallPlan, CallSetup
from voice.sandbox.coded_speech import encode_speech
from voice.sandbox.heard import Heard
from voice.sandbox.journal import Entry, Journal, Notice
from voice.sandbox.line import Line
from voice.sandbox.mouth import Mouth, Utterance
from voice.sandbox.playback import Playback
from voice.sandbox.recording import Recording
from voice.sandbox.twilio_call import TwilioCall
from voice.sandbox.twilio_rest import TwilioRestStandIn
from voice.sandbox.webhook import Webhooks


class Phone:
    def __init__(
        self,
        *,
        server: str,
        account_sid: str,
        auth_token: str,
        public_url: str = "https://voice.example.com",
        from_number: str = "+15550001111",
        to_number: str = "+15559990000",
        twilio: TwilioRestStandIn | None = None,
        voice: Callable[[str], bytes] | None = None,
        keep_audio: bool = True,
        call_sid: str | None = None,
        setup: CallSetup = CallSetup(),
    ) -> None:
        """`server` is where requests really go (http://127.0.0.1:8000), `public_url` what is signed and named in TwiML.

        `voice` makes mu-law audio of words; by default coded speech with this phone's `tag`. Without `keep_audio`
        the caller's audio is not kept (`sent` stays empty, no sound file); the words heard are known all the same.
        For a call that the server placed: `call_sid` of the created call, `setup=created(call.form)`.
        Raises ValueError when `server` is not an http address.
        """
        self.call_sid = call_sid or "CA" + secrets.token_hex(16)
        self.tag = int(self.call_sid[2:6], 16)
        self.journal = Journal()
        self._voice = voice or (lambda words: encode_speech(words, self.tag))
        self._twilio = twilio
        self._playback = Playback(time.monotonic())
        self._recording = Recording(self._playback, keep_audio)
        self._mouth = Mouth(self.journal)
        plan = CallPlan(account_sid, self.call_sid, from_number, to_number, setup)
        web = Webhooks(server, public_url.rstrip("/"), auth_token, self.journal)
        sent = self._recording.sent if keep_audio else None
        self._call = TwilioCall(plan, web, self._mouth, self._playback, self.journal, sent)

    # What the caller does

    def dial(self) -> None:
        """Begin the call; returns at once."""
        if self._twilio is not None:
            self._twilio.attach(self.call_sid, self._call)
        self._playback.began = time.monotonic()
        gevent.spawn(self._call.run).name = f"{self.call_sid} phone"

    def say(self, text: str) -> bool:
        """Say it in real time; returns when its last frame was sent. False when the call ended before that."""
        return self._wait_for_end(self.say_async(text))

    def say_async(self, text: str) -> Utterance:
        """Queue it and return; `.over` is set when its last frame was sent."""
        return self._mouth.say(self._voice(text), text)

    def play(self, mulaw: bytes) -> bool:
        """Send any other sound, like `say`."""
        return self._wait_for_end(self.play_async(mulaw))

    def play_async(self, mulaw: bytes) -> Utterance:
        return self._mouth.say(mulaw, "")

    def hush(self) -> None:
        """Break off what is being said, and forget what is queued."""
        self._mouth.hush()

    def press(self, digits: str) -> None:
        """Raises RuntimeError when there is no stream to hear it."""
        line = self.line
        if line is None:
            raise RuntimeError(f"{digits[:20]!r} pressed while the call has no stream")
        for digit in digits:
            line.press(digit)

    def hang_up(self) -> None:
        self._call.end("completed" if self.state == "in-progress" else "canceled", "the caller hung up")

    def drop(self, *, and_hang_up: bool = False) -> None:
        """Reset the stream's connection, no `stop`. The call goes on with its next verb, or (`and_hang_up`) ends."""
        line = self.line
        if line is not None:
            line.drop()
        if and_hang_up:
            self.hang_up()

    def reroute(self, server: str) -> None:
        """Twilio's next requests and streams go to this server; a stream that is open stays where it is."""
        self._call.web.reroute(server)

    # How it stands

    @property
    def state(self) -> str:
        """Twilio's CallStatus: queued, ringing, in-progress, completed, busy, failed, no-answer, canceled."""
        return self._call.state

    @property
    def over_reason(self) -> str:
        return self._call.reason

    @property
    def line(self) -> Line | None:
        """The stream that is open now."""
        lines = self._call.lines
        return lines[-1] if lines and lines[-1].end is None else None

    @property
    def stream_sid(self) -> str | None:
        """The open stream, or the last there was."""
        return self._call.lines[-1].names.stream_sid if self._call.lines else None

    @property
    def streams(self) -> list[str]:
        return [line.names.stream_sid for line in self._call.lines]

    @property
    def late_ms(self) -> float:
        """The longest that a frame went out after its moment."""
        return max((line.late_ms for line in self._call.lines), default=0.0)

    @property
    def webhooks_ms(self) -> list[float]:
        """How long each webhook took that was answered."""
        return self._call.web.took_ms

    @property
    def stream_asked_at(self) -> float | None:
        """`time.monotonic()` when the first stream's handshake began."""
        return self._call.lines[0].asked_at if self._call.lines else None

    @property
    def sent_frames(self) -> int:
        return sum(line.sent_frames for line in self._call.lines)

    @property
    def sent_at(self) -> list[float]:
        """`time.monotonic()` of each frame that went out, of silence too."""
        return [at for line in self._call.lines for at in line.sent_at]

    # What was heard, and what happened

    @property
    def sent(self) -> bytearray:
        """Every byte of caller audio that went out, silence too."""
        return self._recording.sent

    @property
    def heard(self) -> list[Heard]:
        """The agent's utterances in coded speech, as far as they have been played by now."""
        return self._recording.heard(time.monotonic())

    @property
    def heard_text(self) -> str:
        return " ".join(utterance.text.strip() for utterance in self.heard)

    @property
    def agent_spans_ms(self) -> list[tuple[float, float]]:
        """Stretches of agent audio without a pause, since the call began; the last may be still to be played."""
        return [(start / BYTES_PER_MS, end / BYTES_PER_MS) for start, end in self._playback.spans]

    def is_silent(self, for_ms: float) -> bool:
        """Nothing has been played to the caller for so long; true without a stream."""
        return self.line is None or self._playback.silent_ms(time.monotonic()) >= for_ms

    @property
    def began(self) -> float:
        """`time.monotonic()` of the dialing."""
        return self._playback.began

    @property
    def said(self) -> list[str]:
        """The words of each `<Say>`; a `<Say>` takes no time."""
        return self._call.said

    @property
    def dialed(self) -> list[str]:
        return self._call.dialed

    @property
    def whispered(self) -> list[str]:
        """What the dialed heard before they were connected."""
        return self._call.whispered

    @property
    def events(self) -> list[Entry]:
        return self.journal.entries

    @property
    def warnings(self) -> list[Notice]:
        return self.journal.warnings

    @property
    def errors(self) -> list[Notice]:
        """Also 31921, which Twilio notes whenever the server closes the stream, meant or not."""
        return self.journal.errors

    def save(self, path: Path | str) -> None:
        """Write the call so far as a sound file: caller left, agent as heard right. Needs `keep_audio`."""
        self._recording.save(path, self._call.line_starts, time.monotonic())

    # Waiting; each raises PhoneTimeout (a TimeoutError) after `timeout` seconds, or when the call is over without it

    def wait_for(self, what: str | Callable[[], object], timeout: float = 5.0) -> None:
        """Until an event of that kind has happened, or until the function answers something true.

        The function is asked whenever something happens on the call, and every 20 ms while a stream is open.
        """
        if isinstance(what, str):
            self.journal.wait_for(lambda: bool(self.journal.all(what)), timeout, what)
        else:
            self.journal.wait_for(lambda: bool(what()), timeout, "true what was waited for")

    def wait_until_stream(self, timeout: float = 5.0) -> None:
        self.journal.wait_for(lambda: self.line is not None, timeout, "on a stream")

    def wait_until_heard(self, words: str, timeout: float = 10.0) -> None:
        """Until the words have been played to the caller; capitals and the width of spaces do not matter."""
        wanted = " ".join(words.casefold().split())
        self.journal.wait_for(
            lambda: wanted in " ".join(self.heard_text.casefold().split()), timeout, f"heard: {words!r}"
        )

    def wait_until_silent(self, for_ms: float = 300, timeout: float = 10.0) -> None:
        """Until nothing has been played to the caller for so long; at once when there is no stream."""
        self.journal.wait_for(lambda: self.is_silent(for_ms), timeout, f"silent for {for_ms} ms")

    def wait_until_over(self, timeout: float = 10.0) -> None:
        """Until the call is over and its status callback was answered."""
        self.journal.wait_for(self._call.over.is_set, timeout, "over")

    def __enter__(self) -> Self:
        self.dial()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.hang_up()
        self.wait_until_over()

    def _wait_for_end(self, utterance: Utterance) -> bool:
        utterance.over.wait()
        return utterance.place == len(utterance.audio)
