"""A call's log with personal data replaced: a test case that takes the same way as the call and tells nobody's secrets.

Every word becomes another one of the same length, the same one each time, but for the few words that decide who speaks
("mm-hm", "and", "five"). What the conversation made of it is not translated but made anew, by replay. Kept as they are:
times, the agent's name, names of tools and of transfers, what vendors said of their errors.
"""

import json
import random
import re
import string
from calendar import timegm
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from time import gmtime, strftime, strptime
from typing import Any

from voice.core import call_log
from voice.core.conversation import Conversation
from voice.core.firm import MARK
from voice.core.rules import Rules
from voice.core.transcript import Past
from voice.core.words import deciding_words

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_KEPT_AS_IT_IS = re.compile(rf"{re.escape(MARK)}|\{{\{{\w+\}}\}}")
_PHRASES = ("greeting", "apology", "goodbye", "filler", "not_understood", "idle_prompt", "time_warning")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_EPOCH = timegm(strptime("2000-01-01T00:00:00Z", _TIME))


@dataclass(frozen=True)
class Case:
    name: str
    lines: tuple[str, ...]
    is_same: bool
    """After each event it does what the call did, but for the words."""


def case(lines: Iterable[str]) -> Case:
    """Raises ValueError for a log that is none."""
    try:
        logged = [json.loads(line) for line in lines]
        if not logged or "rules" not in logged[0]:
            raise ValueError("no call's first line")
        return _Translation(logged).case()
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no call's log: {error!r}") from error


class _Translation:
    def __init__(self, logged: list[dict[str, Any]]) -> None:
        rules = asdict(Rules(**logged[0]["rules"]))
        self._logged = logged
        self._random = random.SystemRandom()
        # Of the same length, by the word in lower case.
        self._words: dict[str, str] = {}
        self._deciding = deciding_words(rules["language"], rules["backchannels"])
        self._names = {*rules["transfers"], *(digits["name"] for digits in rules["digits"])}
        self._sid = "".join(self._random.choices("0123456789abcdef", k=32))
        heard, spoken = self._joined("TranscriptExtended", "item", _text), self._joined("SpeechArrived", "turn", _chars)
        self._pieces = dict([*heard, *spoken])

    def case(self) -> Case:
        told: list[dict[str, object]] = []
        is_same, conversation = True, None
        logged_kinds: list[str] = []
        made_kinds: list[str] = []
        for number, line in enumerate(self._logged):
            if "action" in line:
                logged_kinds.append(line["action"])
                continue
            is_same = is_same and logged_kinds == made_kinds
            logged_kinds, made_kinds = [], []
            if "rules" in line:
                line = self._head(line)
                conversation = Conversation(Rules(**line["rules"]), Past.read(line["past"]))
                told.append(line)
                continue
            assert conversation is not None
            event: Any = call_log.read(self._event(number, line))
            actions = conversation.handle(event, line["t"])
            told.append(call_log.event_line(event, line["t"]))
            told += [call_log.action_line(action, line["t"]) for action in actions]
            made_kinds = [type(action).__name__ for action in actions]
        is_same = is_same and logged_kinds == made_kinds
        return Case(f"case_{self._sid[:8]}", tuple(json.dumps(line, ensure_ascii=False) for line in told), is_same)

    def _head(self, line: dict[str, Any]) -> dict[str, Any]:
        # What an older log does not have takes its default.
        rules = asdict(Rules(**line["rules"]))
        call = line["call"]
        later = timegm(strptime(call["started"], _TIME)) - timegm(strptime(self._logged[0]["call"]["started"], _TIME))
        told = {
            "call_sid": f"CA{self._sid}",
            "agent": call["agent"],
            "caller": "+15550001111",
            "called": "+15559990000",
            "direction": call.get("direction", "inbound"),
            "started": strftime(_TIME, gmtime(_EPOCH + later)),
        }
        past = line.get("past") or Past().plain()
        return {
            "call": told,
            "rules": rules | {name: self.text(rules[name]) for name in _PHRASES},
            "past": {**past, "entries": [self._entry(entry) for entry in past["entries"]]},
        }

    def _entry(self, entry: dict[str, Any]) -> dict[str, Any]:
        ((kind, told),) = entry.items()
        changed: dict[str, Any] = {name: self.text(told[name]) for name in ("text", "said") if name in told}
        if "uses" in told:
            changed["uses"] = [
                {
                    **use,
                    "arguments": self._json(use["arguments"]),
                    "result": use["result"] and self._json(use["result"]),
                }
                for use in told["uses"]
            ]
        return {kind: {**told, **changed}}

    def _event(self, number: int, line: dict[str, Any]) -> dict[str, Any]:
        match line["event"]:
            case "TranscriptExtended":
                return {**line, "text": self._pieces[number]}
            case "SpeechArrived":
                return {**line, "alignment": {**line["alignment"], "chars": self._pieces[number]}}
            case "TranscriptFinished" | "SentenceReady":
                return {**line, "text": self.text(line["text"])}
            case "ToolCalled":
                return {**line, "arguments": self._json(line["arguments"])}
            case "ToolFinished":
                return {**line, "result": self._json(line["result"])}
            case "DigitPressed":
                return {**line, "digit": "5" if line["digit"] in string.digits else line["digit"]}
        return line

    def _joined(self, event: str, of: str, text: Callable[[dict[str, Any]], str]) -> list[tuple[int, str]]:
        """Words that came in pieces, translated whole and cut at the same places again; by the number of the line."""
        parts: dict[Any, list[tuple[int, str]]] = {}
        stream = 0
        for number, line in enumerate(self._logged):
            stream += "rules" in line
            if line.get("event") == event:
                parts.setdefault((stream, line[of]), []).append((number, text(line)))
        found = []
        for pieces in parts.values():
            whole, place = self.text("".join(piece for _, piece in pieces)), 0
            for number, piece in pieces:
                found.append((number, whole[place : place + len(piece)]))
                place += len(piece)
        return found

    # Words

    def text(self, text: str) -> str:
        """As long as before."""
        told, place = [], 0
        for kept in _KEPT_AS_IT_IS.finditer(text):
            told += [_WORD.sub(self._word, text[place : kept.start()]), kept.group()]
            place = kept.end()
        return "".join(told) + _WORD.sub(self._word, text[place:])

    def _word(self, found: re.Match[str]) -> str:
        word = found.group()
        # What a letter becomes in lower case may be longer.
        key = "".join(letter.lower() if len(letter.lower()) == 1 else letter for letter in word)
        if key in self._deciding or word in self._names:
            return word
        other = self._words.setdefault(key, "".join(map(self._letter, key)))
        return "".join(new.upper() if old.isupper() else new for old, new in zip(word, other, strict=True))

    def _letter(self, letter: str) -> str:
        if letter.isdigit():
            return self._random.choice(string.digits)
        return self._random.choice(string.ascii_lowercase) if letter.isalnum() else letter

    def _json(self, text: str) -> str:
        try:
            return json.dumps(self._value(json.loads(text)))
        except (ValueError, RecursionError):
            return self.text(text)

    def _value(self, value: Any) -> Any:
        match value:
            case str():
                return value if value in self._names else self.text(value)
            case dict():
                return {key: self._value(item) for key, item in value.items()}
            case list():
                return [self._value(item) for item in value]
            case int() if not isinstance(value, bool):
                return int("5" * len(str(abs(value))))
            case float():
                return 5.5
        return value


def _text(line: dict[str, Any]) -> str:
    return str(line["text"])


def _chars(line: dict[str, Any]) -> str:
    return str(line["alignment"]["chars"])
