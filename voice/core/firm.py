"""Sentences that are spoken to their end whatever the caller does: each begins with `[firm]`, which is not spoken.

An agent's texts may hold them, and the language model may write them if its instructions say so.
"""

from voice.core.sentences import split

MARK = "[firm]"


def unmarked(sentence: str) -> tuple[str, bool]:
    """The sentence without its mark, and whether it had one."""
    text = sentence.lstrip()
    return (text[len(MARK) :].lstrip(), True) if text.startswith(MARK) else (sentence, False)


def spoken(text: str) -> str:
    """A text of several sentences as it is spoken: no marks, one blank between sentences."""
    return " ".join(unmarked(sentence)[0] for sentence in split(text))
