"""Calls whose stream has ended and that Twilio still holds: asked back by REST, or hung up if they are over.

Behind a stream Twilio asks /twilio/resume within moments. That it does so after every kind of error is written nowhere;
this is for when it does not. Each stream's call is asked back once, by whichever worker is first, or not at all when
Twilio has come by itself.
"""

import logging
from dataclasses import dataclass

import gevent

from voice import registry
from voice.errors import RecordsUnavailable, VendorRefused, VendorUnavailable
from voice.records.entries import CallEnded, Standing
from voice.records.queries import LEFT
from voice.records.records import Records
from voice.wires import twiml
from voice.wires.telephone import Telephone

COMES_BACK_S = 10.0
"""So long Twilio has to come by itself."""
LOOK_AGAIN_S = 20.0
"""A call that seems to have no worker is looked at twice, so long apart: its worker tells of itself every 10 s."""

_log = logging.getLogger("voice.recall")


@dataclass
class _Left:
    """A call that a stream has left, and how far we are with it."""

    call_sid: str
    stream_name: str
    is_over: bool
    """Twilio is to hang it up, and could not be told so; else it is to go on."""
    is_ours: bool = False
    """Nobody else asks for it."""


class Recall:
    def __init__(
        self,
        telephone: Telephone,
        records: Records,
        public_url: str,
        owner: str,
        comes_back_s: float = COMES_BACK_S,
        look_again_s: float = LOOK_AGAIN_S,
    ) -> None:
        """`owner` is this worker in the records."""
        self._telephone = telephone
        self._records = records
        self._public_url = public_url
        self._owner = owner
        self._comes_back_s = comes_back_s
        self._look_again_s = look_again_s
        # By the stream's name; what could not be settled stays for the next sweep.
        self._left: dict[str, _Left] = {}
        self._waiting: set[str] = set()
        self._sweeping: gevent.Greenlet | None = None

    def soon(self, call_sid: str, stream_name: str, is_over: bool = False) -> None:
        """A stream of the call has ended. Returns at once; may be called twice.

        Unless Twilio comes back by itself, or has got rid of the call, the call is asked back, or (`is_over`) hung up.
        """
        if not stream_name:
            return
        left = self._left.setdefault(stream_name, _Left(call_sid, stream_name, is_over))
        left.is_over |= is_over
        if stream_name not in self._waiting:
            self._waiting.add(stream_name)
            gevent.spawn_later(self._comes_back_s, self._after_waiting, left).name = f"{call_sid} recall"

    def hang_up(self, call_sid: str) -> None:
        """Have Twilio end the call, again and again until it does. Returns at once."""
        left = self._left[call_sid] = _Left(call_sid, call_sid, is_over=True, is_ours=True)
        gevent.spawn(self._settle, left).name = f"{call_sid} recall"

    def forget(self, call_sid: str) -> None:
        """Twilio says that the call is over."""
        for name, left in list(self._left.items()):
            if left.call_sid == call_sid:
                del self._left[name]

    def sweep(self) -> None:
        """What could not be settled yet, and the calls that dead workers have left. Returns at once."""
        if not self._sweeping:
            self._sweeping = gevent.spawn(self._sweep)
            self._sweeping.name = "recall sweep"

    # One call

    def _after_waiting(self, left: _Left) -> None:
        self._waiting.discard(left.stream_name)
        if left.stream_name in self._left:
            self._settle(left)

    def _settle(self, left: _Left) -> None:
        """Have done with it, or leave it for the next sweep."""
        try:
            self._act(left)
        except (RecordsUnavailable, VendorUnavailable) as error:
            _log.warning("%s: left by its stream, and Twilio cannot be asked yet: %s", left.call_sid, error)
            return
        except VendorRefused as error:
            _log.error("%s: left by its stream, and Twilio refuses: %s", left.call_sid, error)
        except Exception:
            _log.exception("%s: left by its stream, and asking it back failed", left.call_sid)
        self._left.pop(left.stream_name, None)

    def _act(self, left: _Left) -> None:
        if not left.is_ours:
            if not (left.is_over or self._is_lost(left)):
                return
            if not self._records.may_ask_back(left.stream_name, self._owner):
                return
            left.is_ours = True
        if left.is_over:
            self._telephone.hang_up(left.call_sid)
            _log.warning("%s: Twilio still had it, hung up", left.call_sid)
        elif self._telephone.redirect(left.call_sid, twiml.behind(self._public_url, left.stream_name) + "&asked=1"):
            _log.warning("%s: left by its stream, and Twilio did not come back with it: asked back", left.call_sid)
        else:
            self._close(left.call_sid)

    def _is_lost(self, left: _Left) -> bool:
        standing = self._records.standing(left.call_sid)
        if standing is None:
            # Its first stream never began.
            return True
        if standing.ended_at is not None:
            return standing.result in LEFT
        return standing.stream_name == left.stream_name or not standing.owner_lives

    def _close(self, call_sid: str) -> None:
        ended = CallEnded("lost", "worker-lost", self._records.clock(), {}, {})
        self._records.call_ended(call_sid, ended, if_open=True)
        _log.info("%s: left by its stream, and Twilio has it no more", call_sid)

    # All that are left

    def _sweep(self) -> None:
        for name, left in list(self._left.items()):
            if name not in self._waiting:
                self._settle(left)
        try:
            self._look_for_orphans()
        except RecordsUnavailable as error:
            _log.warning("calls without a worker cannot be looked for: %s", error)

    def _look_for_orphans(self) -> None:
        suspects = self._orphans()
        if not suspects:
            return
        gevent.sleep(self._look_again_s)
        still = self._orphans()
        for name in suspects.keys() & still.keys():
            self._take_in(still[name])

    def _orphans(self) -> dict[str, Standing]:
        """By the stream's name, which another stream of the same call does not share."""
        known = {session.connection.stream_name for session in registry.sessions()} | self._left.keys()
        found = self._records.orphans(self._owner)
        return {standing.stream_name: standing for standing in found if standing.stream_name not in known}

    def _take_in(self, orphan: Standing) -> None:
        left = _Left(orphan.call_sid, orphan.stream_name, is_over=False)
        if self._records.may_ask_back(orphan.stream_name, self._owner):
            left.is_ours = True
            self._left[orphan.stream_name] = left
            self._settle(left)
        elif orphan.ended_at is None:
            # Twilio has come back with it and has not got as far as a stream, or a human has the call.
            self._close_if_gone(orphan.call_sid)

    def _close_if_gone(self, call_sid: str) -> None:
        try:
            if not self._telephone.is_live(call_sid):
                self._close(call_sid)
        except (VendorUnavailable, VendorRefused) as error:
            _log.warning("%s: without a worker, and Twilio does not tell what has become of it: %s", call_sid, error)
