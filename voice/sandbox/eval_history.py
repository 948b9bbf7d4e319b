"""The words of one simulated call: what was said, what was heard, and what the history makes of it. Pure."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from voice.sandbox.eval_seen import Record, Seen

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def words(text: str) -> list[str]:
    """Without case and punctuation."""
    return _WORD.findall(text.casefold())


def clipped_goodbyes(seen: Seen) -> list[str] | None:
    """The server's last words, if it hung up before they had been played."""
    if seen.words is None:
        return None
    if seen.hung_up_by != "server" or not seen.texts:
        return []
    last = max(seen.texts)
    record = seen.record(last)
    # Of a turn that was spoken again after a fault only the record tells the text once.
    said = words(record.agent if record and not record.cut else seen.texts[last])
    heard = words(seen.heard(last) or "")
    if heard[-len(said) :] == said:
        return []
    return [f"the goodbye was clipped: {' '.join(said)!r} was said, {' '.join(heard)!r} was heard"]


def history(seen: Seen) -> tuple[list[str] | None, list[str] | None]:
    """Words in the history that were not heard, and the other way round."""
    if seen.words is None:
        return None, None
    not_heard: list[str] = []
    not_in_history: list[str] = []
    turns = {sound.turn for sound in seen.sounds} | {record.turn for record in seen.records}
    for turn in sorted(turns):
        record = seen.record(turn) or Record(turn, "", "", False)
        stops = sum(1 for sound in seen.sounds if sound.turn == turn) - 1 + record.cut
        heard = words(seen.heard(turn) or "")
        if record.cut:
            heard = _without_fragment(heard, words(seen.texts.get(turn, "")))
        more, less = _difference(words(record.agent), heard)
        # In each place where the sound was cut one word may be heard in part.
        not_heard += more[max(0, stops) :]
        not_in_history += less[max(0, stops) :]
    forgotten, invented = _memory(seen)
    return not_heard + invented, not_in_history + forgotten


def _without_fragment(heard: list[str], said: list[str]) -> list[str]:
    """The first sounds of a word, on which the cut fell, are no word that anybody has heard."""
    if not 0 < len(heard) <= len(said):
        return heard
    last, whole = heard[-1], said[len(heard) - 1]
    return heard[:-1] if last != whole and whole.startswith(last) else heard


def _memory(seen: Seen) -> tuple[list[str], list[str]]:
    """What the language model was told that it had said, against the records: words left out, and words put in.

    The worst request counts: what one has forgotten, those after it have usually forgotten too.
    """
    records = _recorded_when_asked(seen)
    requests = seen.remembered or ()
    # A request that was cancelled at once was never sent, one that broke may have been sent twice.
    unsent, again = max(0, len(records) - len(requests)), max(0, len(requests) - len(records))
    worst: tuple[list[str], list[str]] = [], []
    for place, remembered in enumerate(requests):
        told = words(" ".join(remembered))
        possible = records[max(0, place - again) : place + unsent + 1]
        differences = [_difference(words(" ".join(recorded)), told) for recorded in possible]
        worst = max(worst, min(differences, key=_size, default=([], told)), key=_size)
    return worst


def _recorded_when_asked(seen: Seen) -> list[list[str]]:
    """By the server's log: at each question to the language model, what had been recorded of the agent's words."""
    recorded: list[str] = []
    asked = []
    for line in seen.log:
        if line.get("action") == "RecordTurn" and line["agent"]:
            recorded.append(line["agent"])
        elif line.get("action") == "StartReply":
            asked.append(list(recorded))
    return asked


def _size(difference: tuple[list[str], list[str]]) -> int:
    return sum(map(len, difference))


def _difference(one: Sequence[str], other: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that only the one has, and those that only the other has, order minded."""
    only_one: list[str] = []
    only_other: list[str] = []
    for kind, i, j, k, m in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if kind != "equal":
            only_one += one[i:j]
            only_other += other[k:m]
    return only_one, only_other
