"""Many callers at once: what each of them says, and what must have become of each call when its worker had to go."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import gevent

from tests.running import Running, wait_until
from voice.records.entries import CallRecord
from voice.records.records import Records
from voice.sandbox.journal import PhoneTimeout
from voice.sandbox.mouth import Utterance
from voice.sandbox.phone import Phone
from voice.sandbox.xai import Asked

GREETING = "how can I help you?"
SORRY = "Sorry, I lost you for a second."
Told = Callable[[str, object], None]
"""pytest's `record_property`."""
_ARRIVALS_PER_S = 10
_ANSWER_S = 30.0
# Longer than the agent takes from the caller's last word to its own first one.
_PAUSE_MS = 1500
_NUMBER = re.compile(r"Caller (\d{4})")


@dataclass(frozen=True)
class Gaps:
    """What a call met that changed its stream, in seconds, one for each change."""

    stream: list[float]
    """From the end of a stream to the beginning of the next."""
    word: list[float]
    """From the end of a stream to the agent's next sound, where that came without a new question."""

    def tell(self, record_property: Told) -> None:
        for name, gaps in (("gap", self.stream), ("gap_to_a_word", self.word)):
            if gaps:
                record_property(f"{name}_p50_s", round(median(gaps), 2))
                record_property(f"{name}_max_s", round(max(gaps), 2))


class Crowd:
    """Callers who have had one answer each; every sentence names its caller."""

    def __init__(self, running: Running, size: int, **options: Any) -> None:
        """`options` are the phones'. Raises PhoneTimeout when one is not answered."""
        running.forget()
        self._running = running
        self.phones = [
            running.phone(from_number=f"+1555000{number:04}", keep_audio=False, **options) for number in range(size)
        ]
        dialing = [gevent.spawn_later(n / _ARRIVALS_PER_S, self._arrive, n) for n in range(size)]
        gevent.joinall(dialing, raise_error=True)
        self._said: list[Utterance] = []
        # Faults come later.
        self._begun = time.monotonic()

    def _arrive(self, number: int) -> None:
        phone = self.phones[number]
        phone.dial()
        phone.wait_for(heard(phone, GREETING), _ANSWER_S)
        self._ask(number, "is here")

    def _ask(self, number: int, what: str) -> None:
        """Raises PhoneTimeout without the whole answer to it."""
        phone = self.phones[number]
        if not phone.say(f"Caller {number:04} {what}"):
            raise PhoneTimeout(f"the call was over while it was said: {phone.over_reason}")
        phone.wait_for(heard(phone, f"Caller {number:04} {what}"), _ANSWER_S)

    # What is under way when the fault comes

    def be_busy(self) -> None:
        """One third listens to the agent, one third speaks, one third is silent; returns when it is so."""
        listening = list(enumerate(self.phones))[1::3]
        asking = [
            gevent.spawn(phone.say, f"Caller {number:04} wants to hear all of this very long sentence once more")
            for number, phone in listening
        ]
        gevent.joinall(asking)
        for _, phone in listening:
            phone.wait_for(lambda phone=phone: not phone.is_silent(100))
        for number, phone in list(enumerate(self.phones))[2::3]:
            said = phone.say_async(f"Caller {number:04} wants to say all of this very long sentence at once")
            self._said.append(said)

    def all_listen(self, what: str) -> None:
        """Everybody says so, and hears the beginning of the answer."""
        asking = [gevent.spawn(phone.say, f"Caller {n:04} {what}") for n, phone in enumerate(self.phones)]
        gevent.joinall(asking, raise_error=True)
        for phone in self.phones:
            phone.wait_for(lambda phone=phone: not phone.is_silent(100))

    def be_quiet(self) -> None:
        """Until nobody speaks and nothing is owed to anybody; what comes then is of another fault."""
        for utterance in self._said:
            utterance.over.wait(_ANSWER_S)
        for phone in self.phones:
            phone.wait_until_silent(_PAUSE_MS, _ANSWER_S)
        self._begun = time.monotonic()

    def reroute(self, server: str) -> None:
        for phone in self.phones:
            phone.reroute(server)

    # What became of it

    def moved(self, streams: int = 2) -> list[Phone]:
        """Those whose stream was lost and who have another one."""
        return [phone for phone in self.phones if len(phone.streams) >= streams and phone.line is not None]

    def wait_until_moved(self, count: int, timeout: float, streams: int = 2) -> None:
        """`streams` is the number of the new one."""
        wait_until(lambda: len(self.moved(streams)) >= count, timeout, f"{count} calls have a new stream")

    def wait_until_back(self, timeout: float) -> None:
        """Until every call has a stream; asked right after a fault, that fault may not have shown yet."""
        wait_until(lambda: all(phone.line is not None for phone in self.phones), timeout, "all have a stream")

    def gaps(self) -> Gaps:
        found = [gap for phone in self.phones for gap in _gaps(phone, self._begun)]
        return Gaps([stream for stream, _ in found], [word for _, word in found if word is not None])

    def go_on(self) -> list[str]:
        """Everybody asks again and rings off. One line for each call of which not all is as it must be."""
        asking = [gevent.spawn(self._last_question, number) for number in range(len(self.phones))]
        gevent.joinall(asking, raise_error=True)
        faults = [f"{number}: {greenlet.value}" for number, greenlet in enumerate(asking) if greenlet.value]
        requests = list(self._running.sandbox.xai.requests)
        for number, phone in enumerate(self.phones):
            mine = [asked for asked in requests if asked.headers.get("x-grok-conv-id") == phone.call_sid]
            faults += [f"{number}: {fault}" for fault in _forgotten_or_crossed(number, phone, mine)]
        return faults

    def _last_question(self, number: int) -> str:
        phone = self.phones[number]
        try:
            phone.wait_for(lambda: phone.line is not None and phone.is_silent(_PAUSE_MS), _ANSWER_S)
            self._ask(number, "asks again")
            phone.hang_up()
            phone.wait_until_over()
        except PhoneTimeout as timeout:
            return str(timeout)
        return "" if phone.over_reason == "the caller hung up" else f"its end is {phone.over_reason}"

    def recorded(self, database_url: str) -> list[str]:
        """One line for each call whose record is not what the caller lived through."""
        records = Records(database_url)
        records.start()
        try:
            sids = [phone.call_sid for phone in self.phones]
            wait_until(lambda: all(_has_ended(records.call(sid)) for sid in sids), 10, "all ends are recorded")
            kept = [records.call(sid) for sid in sids]
        finally:
            records.stop(1)
        return [fault for number, record in enumerate(kept) for fault in _record_faults(number, record)]


def database(running: Running) -> str:
    return running.environment["DATABASE_URL"]


def heard(phone: Phone, words: str) -> Callable[[], bool]:
    """Whether the agent has just said so, and is silent now: for `phone.wait_for`."""
    # Asked 50 times a second: reading words out of the sound is for the pauses, and for what came last.
    return lambda: phone.is_silent(300) and words in " ".join(part.text for part in phone.heard[-3:])


def _gaps(phone: Phone, since: float) -> Iterator[tuple[float, float | None]]:
    """Of each change of stream: seconds to the next stream, and to the agent's next sound unless the caller spoke."""
    lost: float | None = None
    begun: float | None = None
    for entry in phone.events:
        if entry.at < since:
            continue
        if entry.kind == "stream-ended":
            if lost is not None and begun is not None:
                yield begun - lost, None
            # A stream that was refused in between belongs to the same silence.
            lost = entry.at if begun is not None or lost is None else lost
            begun = None
        elif entry.kind == "start" and lost is not None:
            begun = entry.at
        elif begun is not None and lost is not None and entry.kind in ("media", "utterance-began"):
            yield begun - lost, entry.at - lost if entry.kind == "media" else None
            lost = begun = None


def _forgotten_or_crossed(number: int, phone: Phone, mine: list[Asked]) -> Iterator[str]:
    asked_again = [messages for asked in mine if "asks again" in str((messages := asked.body["messages"])[-1])]
    if not asked_again:
        yield "the language model was not asked again"
    elif f"Caller {number:04} is here" not in str(asked_again[-1]):
        yield f"the agent has forgotten what was said first: {asked_again[-1]}"
    crossed = {text for asked in mine for text in _NUMBER.findall(str(asked.body["messages"]))}
    crossed |= set(_NUMBER.findall(phone.heard_text))
    if crossed - {f"{number:04}"}:
        yield f"it has words of {sorted(crossed)}"


def _has_ended(record: CallRecord | None) -> bool:
    return record is not None and record.ended_at is not None


def _record_faults(number: int, record: CallRecord | None) -> Iterator[str]:
    assert record is not None
    if (record.result, record.reason) != ("completed", "caller-hung-up"):
        yield f"{number}: recorded as {record.result}, {record.reason}"
    said = " ".join(turn.caller for turn in record.turns)
    for words in ("is here", "asks again"):
        if f"Caller {number:04} {words}" not in said:
            yield f"{number}: no turn with {words!r} is recorded"
