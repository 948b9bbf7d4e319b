"""The transcriber of one call: session after session, and the caller's audio that none of them has understood yet.

Written by the caller-reader (audio, commits), read by the transcript-reader. Models without turn detection of
their own wait for our commit; the others detect speech themselves. The model's name decides which.
"""

import time
from collections import deque

from voice.core import events as ev
from voice.core.audio import FRAME_BYTES, To24k
from voice.core.backlog import PACE, Backlog
from voice.errors import VendorUnavailable
from voice.wires.transcription_session import COMMIT_MODELS, Hearing, TranscriptionSession

_TOGETHER_BYTES = 2 * FRAME_BYTES
"""Two frames are one message: half the messages for 20 ms that nobody hears."""
_RENEWAL_PAUSE_S = 60.0


class Transcriber:
    def __init__(self, url: str, key: str, model: str, audio_format: str, name: object) -> None:
        """`url` without query; `audio_format` is pcmu or pcm24k; `name` stands in the log."""
        self._url = url
        self._key = key
        self._model = model
        self._name = name
        self.detects_speech = model not in COMMIT_MODELS
        self._convert = To24k().convert if audio_format == "pcm24k" else None
        self._backlog = Backlog(knows_speech=not self.detects_speech)
        # What the session that hears us has not been sent yet, in order; None is a commit.
        self._unsent: deque[bytes | None] = deque()
        self._unsent_bytes = 0
        # So much of it may go out; below 0 what went out too early.
        self._allowed_bytes = 0.0
        self._session: TranscriptionSession | None = None
        self._opened: TranscriptionSession | None = None
        self._renewal_failed_at = 0.0
        self.closed = False

    # Sessions: on the transcript-reader

    def connect(self) -> None:
        """Open a session that hears nothing yet. Raises VendorUnavailable or VendorRefused."""
        self._opened = TranscriptionSession(self._url, self._key, self._model, self._convert is not None, self._name)

    def begin(self, hearing: Hearing) -> ev.TranscriberReady:
        """The session that was opened hears from now on, and first all that was not understood; another one that is
        there ends. Raises VendorUnavailable or VendorRefused: the other one stays then."""
        opened = self._opened
        assert opened is not None
        try:
            opened.configure(hearing)
        except BaseException:
            opened.shutdown()
            raise
        before, self._session = self._session, opened
        self._unsent = deque(self._backlog.again())
        self._unsent_bytes = sum(len(frame) for frame in self._unsent if frame)
        self._allowed_bytes = 0.0
        if before:
            before.shutdown()
        return ev.TranscriberReady(self._backlog.utterances(), round(self._backlog.seconds, 2))

    def next(self) -> ev.Event | None:
        """What the session says next; None when there is nothing to say for a while. Call after `begin`.

        Raises VendorUnavailable or VendorRefused when it is over.
        """
        assert self._session is not None
        event = self._session.next()
        match event:
            case ev.UtteranceCommitted():
                self._backlog.named(event.item)
            case ev.TranscriptFinished() | ev.TranscriptFailed():
                self._backlog.understood(event.item)
            case ev.CallerStartedSpeaking():
                self._backlog.speech()
        return event

    @property
    def renewal_due(self) -> bool:
        """The session nears the end of its life, and the moment is a quiet one."""
        now = time.monotonic()
        due = self._session is not None and now >= self._session.renew_at
        return due and self._backlog.quiet and now >= self._renewal_failed_at + _RENEWAL_PAUSE_S

    def renewal_failed(self) -> None:
        """Not again for a minute."""
        self._renewal_failed_at = time.monotonic()

    def lost(self) -> None:
        """There is no session: audio waits for the next one."""
        session, self._session = self._session, None
        if session:
            session.shutdown()

    def shutdown(self) -> None:
        """From any greenlet, at once and for good; the reader wakes with VendorUnavailable."""
        self.closed = True
        for session in (self._session, self._opened):
            if session:
                session.shutdown()

    # Audio: on the caller-reader. A socket that cannot be written to is its reader's to report.

    def send_audio(self, mulaw: bytes) -> None:
        """The caller's next audio; what no session hears is kept for the next one."""
        self._backlog.add(mulaw, sent=self._session is not None)
        if self._session is None:
            return
        self._unsent.append(mulaw)
        self._unsent_bytes += len(mulaw)
        self._allowed_bytes += PACE * len(mulaw)
        if self._unsent_bytes >= _TOGETHER_BYTES:
            self._pump()

    def speech_started(self) -> None:
        """In the audio of now."""
        self._backlog.speech()

    def commit(self) -> None:
        """What was heard so far is one utterance."""
        self._backlog.end()
        self._unsent.append(None)
        self._pump()

    def commit_with_next_audio(self) -> None:
        """The words of the last utterance are late: ask for them once more. From another greenlet than that which
        sends: its next audio takes the commit along."""
        self._unsent.append(None)

    def _pump(self) -> None:
        session = self._session
        if session is None:
            return
        # All is taken before anything is sent: another session may take over while that waits.
        messages: list[bytes | None] = []
        piece = b""
        while self._unsent and (self._allowed_bytes > 0 or self._unsent[0] is None):
            if (frame := self._unsent.popleft()) is None:
                messages += [piece, None]
                piece = b""
            else:
                piece += frame
                self._allowed_bytes -= len(frame)
                self._unsent_bytes -= len(frame)
        messages.append(piece)
        # What was not needed is not kept for later.
        self._allowed_bytes = min(0.0, self._allowed_bytes)
        try:
            for message in messages:
                if message is None:
                    session.commit()
                elif message:
                    session.append(self._convert(message) if self._convert else message)
        except VendorUnavailable:
            pass  # its reader wakes with the same, and all of it is sent again

    @property
    def is_behind(self) -> bool:
        """A session has yet to hear what it missed: that goes out as evenly as audio comes in."""
        return self._unsent_bytes > _TOGETHER_BYTES

    @property
    def dropped_bytes(self) -> int:
        """Of the caller's audio, never heard by any session."""
        return self._backlog.lost_bytes
