"""Card numbers blanked, and of every text only what both databases can hold. Pure.

A card number is 13 to 19 digits that pass Luhn's check, together or in groups, down to single digits as the keypad and
callers give them. Numbers spoken as words ("four one one one") are not found.
"""

import math
import re
from typing import Any

_GAP = r"[ \t\u00a0.,;/\u2013\u2014-]{0,3}"
# A telephone number begins with +, an id has letters around its digits.
_RUN = re.compile(rf"(?<![\w+])\d(?:{_GAP}\d){{12,}}(?!\w)")
_GROUP = re.compile(r"\d+")
_SHORTEST, _LONGEST, _SHOWN = 13, 19, 4


def masked(text: str) -> str:
    """`text` with all but the last four digits of every card number as asterisks."""
    return _RUN.sub(lambda run: _masked_run(run.group()), text)


def storable(value: Any) -> Any:
    """A copy of what JSON has given, masked, that both databases take: no NUL, no half character, no NaN."""
    match value:
        case str():
            return masked(clean(value))
        case dict():
            return {clean(str(key)): storable(item) for key, item in value.items()}
        case list():
            return [storable(item) for item in value]
        case float():
            return value if math.isfinite(value) else None
        case int() if not isinstance(value, bool):
            return _masked_number(value)
    return value


def clean(text: str) -> str:
    """Without NUL, which PostgreSQL refuses, and with half a surrogate pair as a question mark."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _masked_number(number: int) -> int | str:
    # Milliseconds and nanoseconds since the epoch begin with a 1; cards of that kind hardly exist.
    text = str(number)
    if len(text) < _SHORTEST or text.startswith("1"):
        return number
    hidden = masked(text)
    return number if hidden == text else hidden


def _masked_run(run: str) -> str:
    """`run` is digits with gaps. More than a card number may stand in it: what follows is often date and code."""
    places = [place for place, character in enumerate(run) if character.isdigit()]
    ends = _borders(run)
    digits = [int(run[place]) for place in places]
    text = list(run)
    start = 0
    while start <= len(digits) - _SHORTEST:
        length = _card(digits, start, ends) if start in ends else 0
        for place in places[start : start + length - _SHOWN] if length else ():
            text[place] = "*"
        start += length or 1
    return "".join(text)


def _borders(run: str) -> set[int]:
    """The digits, by their number, before which a card number may begin or end: those after a gap."""
    borders, count = {0}, 0
    for group in _GROUP.findall(run):
        # More digits in one piece than any card has: it may stand anywhere in them.
        borders |= set(range(count, count + len(group))) if len(group) > _LONGEST else set()
        count += len(group)
        borders.add(count)
    return borders


def _card(digits: list[int], start: int, ends: set[int]) -> int:
    """How many digits from `start` on are a card number, the most first; 0 when they are none."""
    for length in range(min(_LONGEST, len(digits) - start), _SHORTEST - 1, -1):
        if start + length in ends and _luhn(digits[start : start + length]):
            return length
    return 0


def _luhn(digits: list[int]) -> bool:
    """ISO/IEC 7812-1, annex B. Nothing but zeros passes it too and is no card."""
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return any(digits) and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
