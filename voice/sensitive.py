"""What the caller types that is nobody's business: it stays here, and webhooks get it by its name."""

HIDDEN = "•"
_LONGEST = 64


class SensitiveDigits:
    """One per call; written by the greenlet that reads the caller, switched by the call greenlet."""

    def __init__(self) -> None:
        self.by_name: dict[str, str] = {}
        """Complete, without #."""
        self._name = ""
        self._typed = ""
        self._length = _LONGEST

    def collect(self, name: str, sensitive: bool, length: int) -> None:
        """From now on the keys belong to `name`; without one, what was asked for before is complete.

        Of a known `length`, what is pressed beyond it is hidden too, and counts for nothing.
        """
        if self._name and not name:
            self.by_name[self._name] = self._typed
        self._name, self._typed = name if sensitive else "", ""
        self._length = length or _LONGEST

    def press(self, digit: str) -> str:
        """What everybody else gets to know of this key."""
        if not self._name or digit == "#":
            return digit
        self._typed = (self._typed + digit)[: self._length]
        return HIDDEN
