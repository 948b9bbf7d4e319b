"""What is wrong with the configuration: every fault found at once, one line each. Runs before any greenlet."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

# No vendor's key or token is shorter than this, so a key pasted into the wrong place is never shown.
_SHORTEST_SECRET = 32


class ConfigError(Exception):
    """The server cannot start; `faults` has one line for each thing that is wrong, and the message lists them all."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        count = f"{len(self.faults)} faults" if len(self.faults) > 1 else "1 fault"
        super().__init__(f"The configuration has {count}:" + "".join(f"\n  {fault}" for fault in self.faults))


def shown(value: object) -> str:
    """`value` as a fault names it: ASCII whatever the terminal, and nothing that could be a key."""
    if isinstance(value, str) and len(value) >= _SHORTEST_SECRET:
        return f"a text of {len(value)} characters"
    words = ascii(value)
    return words if len(words) <= 80 else words[:77] + "..."


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `word` was most likely meant to be, or None."""
    return next(iter(get_close_matches(word, list(known), n=1)), None)


def suggestion(word: str, known: Iterable[str]) -> str:
    """`" (did you mean x?)"`, or nothing when none of `known` is near."""
    meant = nearest(word, known)
    return f" (did you mean {meant}?)" if meant else ""
