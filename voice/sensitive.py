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

    def collect(self, name: str, sensitive: bool) -> None:
        """From now on the keys belong to `name`; without one, what was asked for before is complete."""
        if self._name and not name:
            self.by_name[self._name] = self._typed
        self._name, self._typed = name if sensitive else "", ""

    def press(self, digit: str) -> str:
        """What everybody else gets to know of this key."""
        if not self._name or digit == "#":
            return digit
        self._typed = (self._typed + digit)[:_LONGEST]
        return HIDDEN
