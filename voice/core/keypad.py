"""The keys that the caller presses, collected until #, a length or a pause: then they count as words."""

from voice.core.agenda import Agenda, Deadline
from voice.core.events import CollectDigits
from voice.core.rules import Digits

PAUSE_S = 3.0
"""Digits belong together when less than this is between them; # ends them at once."""
SENSITIVE_PAUSE_S = 8.0
"""The same for sensitive ones without a length: what comes later would be seen."""
_LONGEST = 64


class Keypad:
    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._pressed = ""
        # What the agent has asked for; it stays asked for, whatever is spoken about meanwhile.
        self._wanted: Digits | None = None

    def want(self, digits: Digits) -> None:
        self._wanted, self._pressed = digits, ""
        self._agenda.drop(Deadline.KEYPAD)
        self._agenda.do(CollectDigits(digits.name, digits.sensitive, digits.length or 0))

    def press(self, digit: str) -> str:
        """The words of a complete entry, otherwise nothing."""
        if digit == "#":
            return self.complete()
        if len(self._pressed) < _LONGEST:
            self._pressed += digit
        wanted = self._wanted
        if wanted and len(self._pressed) == wanted.length:
            return self.complete()
        pause_s = SENSITIVE_PAUSE_S if wanted and wanted.sensitive and not wanted.length else PAUSE_S
        self._agenda.set(Deadline.KEYPAD, self._agenda.now + pause_s)
        return ""

    def complete(self) -> str:
        """Take what was pressed; empty when nothing was. Too few of a known length are asked for anew."""
        self._agenda.drop(Deadline.KEYPAD)
        pressed, self._pressed = self._pressed, ""
        wanted = self._wanted
        if not pressed:
            return ""
        if wanted and wanted.length and len(pressed) < wanted.length:
            self.want(wanted)
            return f"[keypad {wanted.name}] only {len(pressed)} of {wanted.length} digits: they have to be typed again"
        self._wanted = None
        if not wanted:
            return f"[keypad] {' '.join(pressed)}"
        self._agenda.do(CollectDigits("", False, 0))
        if wanted.sensitive:
            return f"[keypad {wanted.name}] {len(pressed)} digits, kept secret: {{{{{wanted.name}}}}} stands for them"
        return f"[keypad {wanted.name}] {' '.join(pressed)}"

    @property
    def wanted(self) -> str:
        """The name of what is asked for, or nothing."""
        return self._wanted.name if self._wanted else ""

    @property
    def typing(self) -> bool:
        return bool(self._pressed)
