"""What words mean for the taking of turns: whether they are any, whether more will come, whether two are the same."""

import re
from collections.abc import Sequence

# Sounds of listening, not of wanting to speak.
_BACKCHANNELS = {
    "en": "mm hm hmm mhm mmhm mmhmm uh huh uhhuh yeah yep yes okay ok right sure i see got it aha ah oh",
    "de": "mhm hm hmm ja jaja okay ok genau gut aha ah oh achso ach so verstehe stimmt richtig",
    "es": "mhm hm hmm sí si ya vale ok okay claro ajá aja bueno entiendo exacto",
    "fr": "mhm hm hmm oui ouais ok okay d'accord daccord voilà voila ah bon bien sûr je vois",
    "it": "mhm hm hmm sì si già ok okay certo va bene ah capisco esatto",
    "nl": "mhm hm hmm ja oké oke ok okay precies goed aha juist begrijp",
    "pt": "mhm hm hmm sim tá ta ok okay certo claro pois entendo exato aham",
}
# After these a speaker goes on.
_UNFINISHED = {
    "en": "and or but so because um uh er erm the a an to of with for my i if then that is are it's at on in",
    "de": "und oder aber weil also äh ähm der die das ein eine zu von mit für mein ich wenn dann dass ist",
    "es": "y o pero porque eh este el la un una a de con para mi yo si entonces que es",
    "fr": "et ou mais parce que euh le la un une à de avec pour mon je si alors que est",
    "it": "e o ma perché eh il la un una a di con per mio io se allora che è",
    "nl": "en of maar omdat eh de het een naar van met voor mijn ik als dan dat is",
    "pt": "e ou mas porque é o a um uma para de com meu eu se então que",
}
_NUMBERS = frozenset("zero oh one two three four five six seven eight nine double triple".split())
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def deciding_words(language: str, more: Sequence[str] = ()) -> frozenset[str]:
    """The words on which it depends who speaks; `more` are the agent's own backchannels."""
    known = " ".join((_BACKCHANNELS.get(language, ""), _UNFINISHED.get(language, ""), *more)).casefold()
    return frozenset(known.replace("-", " ").split()) | _NUMBERS


def bare(text: str) -> str:
    """The words alone: no case, no punctuation. Two texts that are the same so need the same answer."""
    return " ".join(_WORD.findall(text.casefold()))


def is_backchannel(text: str, language: str, more: tuple[str, ...] = ()) -> bool:
    """Whether somebody says this while listening; no words at all count too."""
    words = bare(text)
    known = f" {_BACKCHANNELS.get(language, '')} ".replace("-", " ")
    extra = {bare(phrase).replace("-", " ") for phrase in more}
    words = words.replace("-", " ")
    return words in extra or all(f" {word} " in known for word in words.split())


def silence_ms(text: str, base_ms: int, max_ms: int, language: str) -> int:
    """How much silence ends what was said so far: less after a whole sentence, more where something is to follow."""
    words = bare(text).split()
    if not words:
        return base_ms
    last, written = words[-1], text.rstrip()
    # A full stop may stand wherever somebody pauses; a question is heard as one: "Where you are?" is whole.
    if written.endswith(("?", "!", "？", "！")):
        return max(200, base_ms * 2 // 3)
    if last.isdigit() or last in _NUMBERS:
        return min(max_ms, base_ms * 2)
    if last in _UNFINISHED.get(language, "").split() or written.endswith((",", "…", "-", "—")):
        return min(max_ms, base_ms * 2)
    if written.endswith((".", "。")):
        return max(200, base_ms * 2 // 3)
    return base_ms
