"""What the language model writes, made fit to be spoken: no markup, no emoji, long numbers digit by digit."""

import re
import unicodedata
from collections.abc import Mapping

_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_URL = re.compile(r"\b(?:https?://)?(?:www\.)?((?:[a-z0-9-]+\.)+[a-z]{2,})(?:/[^\s,;!?]*)?(?<![.,;!?])", re.IGNORECASE)
_HTTP = re.compile(r"https?://|www\.", re.IGNORECASE)
_BULLET = re.compile(r"^\s*(?:[-*•+]|\d+[.)]|#{1,6}|>)\s+")
_MARKUP = re.compile(r"[*_`~#|]+")
_EMAIL = re.compile(r"\b([\w.+-]+)@((?:[\w-]+\.)+\w+)\b")
# Five digits and more are a number to be written down, not an amount; so is what begins with a plus.
_DIGITS = re.compile(r"\+?\d(?:[\s-]?\d){4,}")
# Of a service, with the prefix that marks it as one. No model is ever given any; none is read out all the same.
_KEY = re.compile(r"\b(?:sk|pk|rk|xai|xi)[-_][A-Za-z0-9_-]{6,}")
_AMOUNT = re.compile(r"([$€£])\s?(\d[\d,]*(?:\.\d{2})?)")
_CURRENCY = {"$": "dollars", "€": "euros", "£": "pounds"}
# Symbols such as emoji, and all that is no character of a text: controls, joiners, surrogates, private ones.
_SILENT = frozenset(("So", "Sk", "Cc", "Cf", "Co", "Cn", "Cs"))
_EMOJI_STYLE = "\ufe0f"
_SIGNS = {"%": " percent", "&": " and ", "=": " equals ", "°": " degrees", "→": ", ", "–": ", ", "—": ", "}


def speakable(sentence: str, pronunciations: Mapping[str, str]) -> str:
    """One sentence as it is to be spoken; `pronunciations` are whole words and what is said for them."""
    text = _KEY.sub("", _BULLET.sub("", _LINK.sub(r"\1", sentence)))
    text = _EMAIL.sub(lambda m: f"{m[1]} at {_dots(m[2])}", text)
    text = _URL.sub(lambda m: _dots(m[1]) if _HTTP.match(m[0]) else m[0], text)
    text = _AMOUNT.sub(lambda m: f"{m[2]} {_CURRENCY[m[1]]}", text)
    text = _DIGITS.sub(lambda m: _one_by_one(m[0]), text)
    text = _MARKUP.sub("", text)
    text = "".join(_SIGNS.get(character, character) for character in text if _sounds(character))
    for written, spoken in pronunciations.items():
        text = re.sub(rf"(?<!\w){re.escape(written)}(?!\w)", spoken.replace("\\", ""), text, flags=re.IGNORECASE)
    return re.sub(r"\s+([,.;!?])", r"\1", " ".join(text.split()))


def _dots(address: str) -> str:
    return address.replace(".", " dot ")


def _one_by_one(number: str) -> str:
    """Digits in threes with a pause between: 5551234567 is "5 5 5, 1 2 3, 4 5 6 7"."""
    digits = [c for c in number if c.isdigit()]
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    if len(groups) > 1 and len(groups[-1]) == 1:
        groups[-2:] = [groups[-2] + groups[-1]]
    spoken = ", ".join(" ".join(group) for group in groups)
    return f"plus {spoken}" if number.startswith("+") else spoken


def _sounds(character: str) -> bool:
    """No emoji, joiners, control or private characters; the signs that have a word are spoken."""
    return character in _SIGNS or (character != _EMOJI_STYLE and unicodedata.category(character) not in _SILENT)
