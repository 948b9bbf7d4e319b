"""The greenlets that listen for a call: one blocking job each, top to bottom, everything reported to the inbox.

Whatever ends one of them is an event too; none of them lets an exception go unreported.
"""

import logging
import random
import time
from collections.abc import Callable

import gevent
from gevent.event import AsyncResult

from config.agents import Agent
from voice.core import events as ev
from voice.core.endpointing import Endpointing, Speech
from voice.errors import CallerStreamError, VendorError, VendorRefused, VendorUnavailable
from voice.sensitive import SensitiveDigits
from voice.wires.caller import Caller, Digit, Mark, Media, Stopped, StreamClosed
from voice.wires.speech_requests import SpeechRequests
from voice.wires.stream_socket import Patience
from voice.wires.synthesizer import Synthesizer
from voice.wires.transcriber import Transcriber
from voice.wires.transcription_session import READY_TIMEOUT_S, Hearing
from voice.wires.vendor_socket import CONNECT_TIMEOUT_S

Report = Callable[[ev.Event], None]
AnySynthesizer = Synthesizer | SpeechRequests
SESSION_WAIT_S = 12.0
"""Without a transcriber for so long, a call has no future."""

_OURS = "an error of ours"
_NO_CONNECTION = "no connection in time"
_NOT_READY = "the session was not ready in time"
_LONGEST_PAUSE_S = 2.0
_SECOND_TRY_S = (0.15, 0.4)
_MOST_BEATS = 4
_BEATS = [Patience(beats) for beats in range(_MOST_BEATS + 1)]
_NONE = Patience()
_ONSET = Patience(messages=2)
_FOR_VENDOR = Patience(messages=2)
"""A transcriber that detects speech itself does so no more than 20 ms later for it."""
_MARK_DIGITS = 9
"""Eleven days of sound; a number of more than 64 bits could not be written to the call's log."""

_log = logging.getLogger("voice.call")


class Ear:
    """Where the caller's audio goes: to the transcriber, and to our own endpointing if the transcriber has none."""

    def __init__(
        self,
        transcriber: Transcriber,
        endpointing: Endpointing | None,
        agent_has_floor: Callable[[], bool],
        report: Report,
        record: Callable[[bytes], None] | None = None,
    ) -> None:
        self._transcriber = transcriber
        self._endpointing = endpointing
        self._agent_has_floor = agent_has_floor
        self._report = report
        self._record = record

    def patience(self) -> Patience:
        """So long audio may wait for what follows it, without that anything is noticed late that matters now: the end
        of the caller's speech, and its beginning while the agent speaks."""
        endpointing = self._endpointing
        if self._transcriber.is_behind:
            return _NONE
        if endpointing is None:
            return _FOR_VENDOR
        if endpointing.speaking:
            return _BEATS[min(_MOST_BEATS, endpointing.undecided_frames - 1)]
        if self._agent_has_floor():
            return _ONSET if endpointing.undecided_frames > 1 else _NONE
        return _BEATS[_MOST_BEATS]

    def hear(self, mulaw: bytes) -> None:
        """Some frames; 50 a second come from each call: nothing here may be wasted."""
        if self._record:
            self._record(mulaw)
        changes = self._endpointing.feed(mulaw) if self._endpointing else ()
        self._transcriber.send_audio(mulaw)
        for change in changes:
            if change is Speech.STARTED:
                self._transcriber.speech_started()
                self._report(ev.CallerStartedSpeaking())
            elif change is Speech.STOPPED and self._endpointing:
                self._transcriber.commit()
                self._report(ev.CallerStoppedSpeaking(self._endpointing.silence_ms))


def read_caller(name: object, caller: Caller, ear: Ear, sensitive: SensitiveDigits, report: Report) -> None:
    """Twilio's stream, to its end."""
    try:
        for message in caller.messages(ear.patience):
            match message:
                case Media():
                    ear.hear(message.mulaw)
                case Mark():
                    _mark_returned(message.name, report)
                case Digit():
                    report(ev.DigitPressed(sensitive.press(message.digit)))
                case Stopped():
                    report(ev.CallerHungUp())
    except (StreamClosed, CallerStreamError) as error:
        report(ev.StreamLost(str(error)))
    except Exception:
        _log.exception("%s: the caller-reader failed", name)
        report(ev.StreamLost(_OURS))


def read_transcriber(name: object, transcriber: Transcriber, agent_known: "AsyncResult[Agent]", report: Report) -> None:
    """Session after session: one that breaks is followed by another, which hears again what was not understood."""

    def begin(within_s: float = CONNECT_TIMEOUT_S) -> None:
        with gevent.Timeout(min(within_s, CONNECT_TIMEOUT_S), VendorUnavailable("transcriber", _NO_CONNECTION)):
            transcriber.connect()
        # Which agent answers is known only when the stream has started.
        agent = agent_known.get()
        hearing = Hearing(agent.language, agent.keywords, agent.turn_taking.silence_ms)
        with gevent.Timeout(max(0.1, min(within_s, READY_TIMEOUT_S)), VendorUnavailable("transcriber", _NOT_READY)):
            ready = transcriber.begin(hearing)
        report(ready)

    try:
        _keep_trying(name, transcriber, begin, report)
        while True:
            try:
                if event := transcriber.next():
                    report(event)
                if transcriber.renewal_due:
                    _renew(name, transcriber, begin)
            except VendorUnavailable as error:
                _keep_trying(name, transcriber, begin, report, error)
    except VendorError as error:
        _failed("transcriber", error, report)
    except Exception:
        _log.exception("%s: the transcript-reader failed", name)
        report(ev.VendorFailed("transcriber", _OURS))


def _keep_trying(
    name: object,
    transcriber: Transcriber,
    begin: Callable[[float], None],
    report: Report,
    lost: VendorUnavailable | None = None,
) -> None:
    """A session, within 12 s: twice at once, then with longer and longer pauses. `lost` is what
    the session before it died of. Raises VendorUnavailable or VendorRefused."""
    since = time.monotonic()
    tries = 0
    while True:
        try:
            if lost and tries == 0:
                raise lost
            begin(since + SESSION_WAIT_S - time.monotonic())
            if tries:
                _log.info("%s: the transcriber hears again after %.1f s", name, time.monotonic() - since)
            return
        except VendorUnavailable as error:
            if transcriber.closed:
                raise
            tries += 1
            if tries == 1:
                transcriber.lost()
                report(ev.TranscriberLost(error.detail, transcriber.detects_speech))
                _log.warning("%s: %s; trying again for %.0f s", name, error, SESSION_WAIT_S)
            # Calls that lose their sessions together shall not come back together.
            pause_s = min(_LONGEST_PAUSE_S, 0.25 * 2 ** (tries - 3)) * random.uniform(0.5, 1.0) if tries > 2 else 0.0
            if time.monotonic() + pause_s >= since + SESSION_WAIT_S:
                raise
            gevent.sleep(pause_s)


def _renew(name: object, transcriber: Transcriber, begin: Callable[[], None]) -> None:
    """Before its end: the next session hears before this one is let go."""
    try:
        begin()
        _log.info("%s: the transcriber's session was renewed", name)
    except VendorError as error:
        transcriber.renewal_failed()
        _log.info("%s: the transcriber's session cannot be renewed yet: %s", name, error)


def _failed(vendor: ev.Vendor, error: VendorError, report: Report) -> None:
    refused = isinstance(error, VendorRefused)
    account = isinstance(error, VendorRefused) and error.account
    report(ev.VendorFailed(vendor, error.detail, refused=refused, account=account))


def read_synthesizer(name: object, synthesizer: AnySynthesizer, report: Report) -> None:
    try:
        _connect(name, "synthesizer", synthesizer.connect)
        for event in synthesizer.events():
            report(event)
    except VendorError as error:
        _failed("synthesizer", error, report)
    except Exception:
        _log.exception("%s: the speech-reader failed", name)
        report(ev.VendorFailed("synthesizer", _OURS))


def _mark_returned(name: str, report: Report) -> None:
    """Marks are named turn:position; any other name is none of ours."""
    turn, _, position_ms = name.partition(":")
    if turn.isdecimal() and position_ms.isdecimal() and max(len(turn), len(position_ms)) <= _MARK_DIGITS:
        report(ev.MarkReturned(int(turn), int(position_ms)))


def _connect(name: object, vendor: ev.Vendor, connect: Callable[[], None]) -> None:
    """Twice at most, each within one deadline: name, TCP, TLS and upgrade have a clock of their own each."""
    for last in (False, True):
        try:
            with gevent.Timeout(CONNECT_TIMEOUT_S, VendorUnavailable(vendor, _NO_CONNECTION)):
                connect()
            return
        except VendorUnavailable as error:
            if last:
                raise
            _log.info("%s: %s; once more", name, error)
            # It may be that many calls were cut at once.
            gevent.sleep(random.uniform(*_SECOND_TRY_S))
