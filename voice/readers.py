"""The greenlets that listen for a call: one blocking job each, top to bottom, everything reported to the inbox.

Whatever ends one of them is an event too; none of them lets an exception go unreported.
"""

import logging
from collections.abc import Callable

import gevent
from gevent.event import AsyncResult

from config.agents import Agent
from voice.core import events as ev
from voice.core.endpointing import Endpointing, Speech
from voice.errors import CallerStreamError, VendorError, VendorRefused, VendorUnavailable
from voice.sensitive import SensitiveDigits
from voice.wires.caller import Caller, Digit, Mark, Media, Stopped, StreamClosed
from voice.wires.synthesizer import Synthesizer
from voice.wires.transcriber import Transcriber
from voice.wires.vendor_socket import CONNECT_TIMEOUT_S

Report = Callable[[ev.Event], None]

_OURS = "an error of ours"
_MARK_DIGITS = 9
"""Eleven days of sound; a number of more than 64 bits could not be written to the call's log."""

_log = logging.getLogger("voice.call")


class Ear:
    """Where the caller's audio goes: to the transcriber, and to our own endpointing if the transcriber has none."""

    def __init__(
        self,
        transcriber: Transcriber,
        endpointing: Endpointing | None,
        report: Report,
        record: Callable[[bytes], None] | None = None,
    ) -> None:
        self._transcriber = transcriber
        self._endpointing = endpointing
        self._report = report
        self._record = record
        # A transcriber that cannot be written to is reported once, and spared from then on.
        self._deaf = False

    def hear(self, mulaw: bytes) -> None:
        """One frame; 50 times a second for each call: nothing here may be wasted."""
        if self._record:
            self._record(mulaw)
        change = self._endpointing.feed(mulaw) if self._endpointing else None
        if not self._deaf:
            try:
                self._transcriber.send_audio(mulaw)
                if change is Speech.STOPPED:
                    self._transcriber.commit()
            except VendorError as error:
                self._deaf = True
                self._report(ev.VendorFailed("transcriber", error.detail))
        if change is Speech.STARTED:
            self._report(ev.CallerStartedSpeaking())
        elif change is Speech.STOPPED and self._endpointing:
            self._report(ev.CallerStoppedSpeaking(self._endpointing.silence_ms))


def read_caller(name: str, caller: Caller, ear: Ear, sensitive: SensitiveDigits, report: Report) -> None:
    """Twilio's stream, to its end."""
    try:
        for message in caller.messages():
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


def read_transcriber(name: str, transcriber: Transcriber, agent_known: "AsyncResult[Agent]", report: Report) -> None:
    """Connect at once; configure the session when it is known which agent answers."""
    try:
        _connect(name, "transcriber", transcriber.connect)
        agent = agent_known.get()
        for event in transcriber.events(agent.language, agent.keywords, agent.turn_taking.silence_ms):
            report(event)
    except VendorError as error:
        report(ev.VendorFailed("transcriber", error.detail))
    except Exception:
        _log.exception("%s: the transcript-reader failed", name)
        report(ev.VendorFailed("transcriber", _OURS))


def read_synthesizer(name: str, synthesizer: Synthesizer, report: Report) -> None:
    try:
        _connect(name, "synthesizer", synthesizer.connect)
        for event in synthesizer.events():
            report(event)
    except VendorError as error:
        report(ev.VendorFailed("synthesizer", error.detail, refused=isinstance(error, VendorRefused)))
    except Exception:
        _log.exception("%s: the speech-reader failed", name)
        report(ev.VendorFailed("synthesizer", _OURS))


def _mark_returned(name: str, report: Report) -> None:
    """Marks are named turn:position; any other name is none of ours."""
    turn, _, position_ms = name.partition(":")
    if turn.isdecimal() and position_ms.isdecimal() and max(len(turn), len(position_ms)) <= _MARK_DIGITS:
        report(ev.MarkReturned(int(turn), int(position_ms)))


def _connect(name: str, vendor: ev.Vendor, connect: Callable[[], None]) -> None:
    """Twice at most, each within one deadline: name, TCP, TLS and upgrade have a clock of their own each."""
    for last in (False, True):
        try:
            with gevent.Timeout(CONNECT_TIMEOUT_S, VendorUnavailable(vendor, "no connection within 3 s")):
                connect()
            return
        except VendorUnavailable as error:
            if last:
                raise
            _log.warning("%s: %s; once more", name, error)
