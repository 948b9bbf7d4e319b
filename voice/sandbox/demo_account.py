"""The demo's account of the call: what was said, pressed and done, as the call's log grows."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from voice.sandbox.call_tail import Line

_HEARING = (("decided", "stopped"), ("final transcript", "transcript"))
_ANSWERING = (("first token", "first_token"), ("first audio", "first_audio"), ("heard", "heard"))


@dataclass
class _Called:
    """A tool, as the model called it."""

    at: float
    name: str
    arguments: str
    result: str = ""
    done_at: float = 0.0


class Account:
    """`tell` takes each line of the log once, in order, soon after it was written."""

    def __init__(self, texted: Sequence[dict[str, str]], dialed: Callable[[], list[str]]) -> None:
        """`texted` are the messages that Twilio was asked to send, `dialed` the numbers that it has called."""
        self._texted = texted
        self._texts_told = 0
        self._dialed = dialed
        self._called: dict[tuple[int, str], _Called] = {}
        self._keys = ""
        self._transferring = False
        # When the call began, and how far into it its present stream did: each counts from 0.
        self._began: float | None = None
        self._stream_began = 0.0

    def tell(self, line: Line) -> None:
        if "call" in line:
            self._tell_stream()
        match line.get("event") or line.get("action"):
            case "ToolCalled":
                at = self._at(line["t"])
                self._called[line["turn"], line["call_id"]] = _Called(at, line["name"], line["arguments"])
            case "ToolFinished":
                called = self._called[line["turn"], line["call_id"]]
                called.result, called.done_at = line["result"], self._at(line["t"])
            case "DigitPressed":
                self._keys += line["digit"]
            case "RecordTurn" if line["agent"]:
                self._tell_turn(line)
            case "EndCall" if line["transfer_to"]:
                self._transferring = True
                _say(self._at(line["t"]), "call", f"put through to {line['transfer_to']}")
            case "EndCall":
                _say(self._at(line["t"]), "call", f"{line['result']}: {line['reason']}")
        sys.stdout.flush()

    def _tell_stream(self) -> None:
        now = time.monotonic()
        if self._began is None:
            self._began = now
            return
        self._stream_began = now - self._began
        if self._transferring:
            number = self._dialed()[-1]
            _say(self._stream_began, "twilio", f"{number} does not answer; the agent takes the call up again")
            self._transferring = False

    def _tell_turn(self, line: Line) -> None:
        times = line["times"]
        end, heard = times["speech_end"], times["heard"]
        self._tell_caller(line)
        self._tell_tools(line["turn"])
        cut = "  -- interrupted" if line["cut"] else ""
        _say(self._at(line["t"] if heard is None else heard), "agent", line["agent"] + cut)
        if end is not None:
            what, stages = ("last key", _ANSWERING) if self._keys else ("speech end", _HEARING + _ANSWERING)
            reached = [f"{name} {(times[key] - end) * 1000:.0f}" for name, key in stages if times[key] is not None]
            print(f"                   {what} 0 -> {' -> '.join(reached)} ms")
        self._keys = ""

    def _tell_caller(self, line: Line) -> None:
        if line["caller"]:
            at = self._at(line["times"]["speech_end"] or line["t"])
            pressed = f"{self._keys}  told to the model and the logs: {line['caller']}"
            _say(at, *(("keypad", pressed) if self._keys else ("caller", line["caller"])))

    def _tell_tools(self, turn: int) -> None:
        for (of, _), called in self._called.items():
            if of == turn:
                result = f" -> {called.result}" if called.result else ""
                _say(called.at, "tool", f"{called.name} {called.arguments}{result}")
                if called.result:
                    self._tell_texts(called.done_at)

    def _tell_texts(self, at: float) -> None:
        for message in self._texted[self._texts_told :]:
            _say(at, "twilio", f"text message to {message['To']}: {message['Body']}")
        self._texts_told = len(self._texted)

    def _at(self, seconds: float) -> float:
        """Seconds since the call's start, from those since the stream's."""
        return self._stream_began + seconds


def _say(at: float, who: str, what: str) -> None:
    print(f"  {int(at) // 60}:{at % 60:04.1f}  {who:<6}  {what}")
