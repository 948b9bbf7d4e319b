"""What the caller has said since the agent's last answer, in the order of speaking, however transcripts come in."""

from dataclasses import dataclass


@dataclass
class _Utterance:
    # The transcriber's name for it, once known; empty when the transcriber did not take it.
    item: str | None = None
    partial: str = ""
    stale: bool = False
    """`partial` is what an earlier session understood; it stands until the present one says something."""
    final: str | None = None
    started: bool = False
    """The speech detector has told its beginning, and its end."""
    stopped: bool = False


class Utterances:
    """One per call. The transcriber names an utterance only when its first text or its commit comes, so a new name
    belongs to the oldest utterance that has none."""

    def __init__(self) -> None:
        self._open: list[_Utterance] = []
        self._closed: set[str] = set()
        # Utterances that were answered before the transcriber had named them: that many new names come too late.
        self._unnamed = 0

    # What the speech detector says

    def started(self) -> None:
        if not self._open or self._open[-1].stopped:
            self._open.append(_Utterance(started=True))

    def stopped(self) -> None:
        # All of them: keys pressed, or words that nobody heard, may stand behind the one that has just ended.
        for utterance in self._open:
            utterance.stopped = True

    # What the transcriber says

    def committed(self, item: str) -> None:
        self._named(item)

    def extended(self, item: str, text: str) -> None:
        if utterance := self._named(item):
            utterance.partial = text if utterance.stale else utterance.partial + text
            utterance.stale = False

    def finished(self, item: str, text: str) -> bool:
        """Whether it is the transcript of the utterance that was taken to go on still."""
        utterance = self._named(item) or self._missed(item)
        if utterance is None:
            return False
        went_on = not utterance.stopped and utterance.started
        utterance.final, utterance.stopped = text.strip(), True
        return went_on

    def failed(self, item: str) -> None:
        """No transcript will come: what was understood so far is all. Without a name it is the oldest that has none."""
        if item:
            utterance = self._named(item)
        else:
            utterance = next((u for u in self._open if u.stopped and u.item is None), None)
        if utterance:
            # One that the transcriber did not take will never be named: the next name is not its.
            utterance.item = item
            utterance.final = utterance.partial.strip()

    def heard_again(self, ended: int) -> None:
        """Another session hears the latest `ended` of those that have ended, and the one that goes on, and has names of
        its own for them. Of what it does not hear, what was understood so far is all."""
        waiting = [u for u in self._open if u.stopped and u.final is None]
        for utterance in waiting[: max(0, len(waiting) - ended)]:
            utterance.item, utterance.final = "", utterance.partial.strip()
        for utterance in self._open:
            if utterance.final is None:
                utterance.item, utterance.stale = None, True
        self._unnamed = max(0, ended - len(waiting))

    def typed(self, text: str) -> None:
        """Words that came by the keypad: final at once, in their place among what was said."""
        self._open.append(_Utterance(item="", final=text, stopped=True))

    # What the conversation asks

    @property
    def settled(self) -> bool:
        """Something was said, and no transcript of it is still to come."""
        return bool(self._open) and all(u.final is not None for u in self._open)

    @property
    def awaited(self) -> bool:
        """Some utterance has ended and its transcript has not come."""
        return any(u.stopped and u.final is None for u in self._open)

    def give_up(self) -> None:
        """The transcripts that are late will not be waited for: what was understood so far is all."""
        for utterance in self._open:
            if utterance.stopped and utterance.final is None:
                utterance.final = utterance.partial.strip()

    @property
    def words(self) -> str:
        """All that was said, as far as it is known."""
        known = (u.partial.strip() if u.final is None else u.final for u in self._open)
        return " ".join(text for text in known if text)

    def take(self) -> str:
        """All that was said, and begin afresh. Transcripts of it that come later are dropped."""
        words = self.words
        for utterance in self._open:
            if utterance.item is None:
                self._unnamed += 1
            else:
                self._closed.add(utterance.item)
        self._open.clear()
        return words

    def _named(self, item: str) -> _Utterance | None:
        if item in self._closed:
            return None
        for utterance in self._open:
            if utterance.item == item:
                return utterance
        if self._unnamed:
            self._unnamed -= 1
            self._closed.add(item)
            return None
        for utterance in self._open:
            if utterance.item is None:
                utterance.item = item
                return utterance
        return None

    def _missed(self, item: str) -> _Utterance | None:
        """Words where the speech detector heard nothing: they count all the same."""
        if item in self._closed:
            return None
        self._open.append(_Utterance(item=item))
        return self._open[-1]
