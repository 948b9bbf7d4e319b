"""A language model's tokens in, sentences out: the synthesizer speaks whole sentences best."""

import re

_ABBREVIATIONS = frozenset("mr mrs ms dr st prof sr jr vs etc e.g i.e no a.m p.m approx dept est".split())
# A sentence ends at . ! ? or an ellipsis, with closing quotes or brackets, before white space; at the full-width
# marks of Chinese and Japanese, which have no space behind them; or at a line's end.
_END = re.compile(r"[.!?…؟۔।]+[\"'”’)\]]*(?=\s)|[。！？]|\n+")
_LONGEST = 300


class Sentences:
    """One per reply."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> list[str]:
        """The sentences that `text` completes, in order; each without surrounding white space."""
        self._rest += text
        found = []
        while (end := self._next_end()) is not None:
            sentence, self._rest = self._rest[:end], self._rest[end:]
            found.append(sentence)
        return [s for s in map(_tidy, found) if _speakable(s)]

    def finish(self) -> list[str]:
        """What is left when the model has stopped."""
        rest, self._rest = _tidy(self._rest), ""
        return [rest] if _speakable(rest) else []

    def _next_end(self) -> int | None:
        # No further than a sentence may be long, so that it ends in the same place however the text came in pieces.
        for match in _END.finditer(self._rest[: _LONGEST + 1]):
            if match.group().startswith("\n") or not _abbreviated(self._rest[: match.start()], match.group()):
                return match.end()
        if len(self._rest) > _LONGEST:
            # No end in sight: better a breath at a comma, or at any space, than a silent line.
            cut = max(self._rest.rfind(mark, 0, _LONGEST) for mark in (", ", "; ", ": "))
            cut = cut + 1 if cut > 0 else self._rest.rfind(" ", 0, _LONGEST)
            return cut if cut > 0 else _LONGEST
        return None


def split(text: str) -> list[str]:
    """A whole text as sentences."""
    sentences = Sentences()
    return sentences.feed(text) + sentences.finish()


def _abbreviated(before: str, end: str) -> bool:
    if end != ".":
        return False
    word = before.rsplit(None, 1)[-1].lower().lstrip("(\"'“‘") if before.strip() else ""
    return word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "i") or not word


def _tidy(text: str) -> str:
    return " ".join(text.split())


def _speakable(text: str) -> bool:
    """Punctuation alone makes no sound: the turn would wait for audio that never comes."""
    return any(character.isalnum() for character in text)
