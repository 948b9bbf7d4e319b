import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from voice.core.sentences import Sentences, split

WORDS = "Hello Dr a.m no I B 3 5 e.g 你好 supercalifragilistic".split()
MARKS = [
    ". ",
    ".",
    "!",
    "?",
    "…",
    "...",
    ", ",
    "; ",
    ": ",
    '"',
    "'",
    ")",
    "”",
    "。",
    "！",
    "？",
    "—",
    "\n",
    "\n\n",
    "\r\n",
]
PIECES = st.lists(st.sampled_from([*WORDS, *MARKS, " ", " ", " ", "x" * 120]), max_size=80)


@given(PIECES, st.lists(st.integers(0, 2000), max_size=40))
@settings(max_examples=400)
@example(["x" * 299, ". ", "y"], [])
@example(["x" * 298, ".", ".", "\n", "y"], [300])
@example(["word, " * 60, "end. ", "y"], [100, 301])
def test_any_split_of_the_text_gives_the_same_sentences(pieces: list[str], cuts: list[int]) -> None:
    text = "".join(pieces)
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    sentences = Sentences()
    in_parts = [s for a, b in zip(places, places[1:], strict=False) for s in sentences.feed(text[a:b])]
    one_by_one = Sentences()
    letters = [s for letter in text for s in one_by_one.feed(letter)]
    assert in_parts + sentences.finish() == split(text) == letters + one_by_one.finish()


@given(PIECES)
@settings(max_examples=400)
def test_no_word_is_lost(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert spoken("".join(split(text))) == spoken(text)


def spoken(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


@given(PIECES)
def test_a_sentence_is_short_and_tidy_and_can_be_spoken(pieces: list[str]) -> None:
    for sentence in split("".join(pieces)):
        assert len(sentence) <= 301
        assert sentence == " ".join(sentence.split())
        assert spoken(sentence)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        (" \n ", []),
        ("Hello", ["Hello"]),
        ("We open at nine. We close at five.", ["We open at nine.", "We close at five."]),
        ("Really?! Yes… Well.", ["Really?!", "Yes…", "Well."]),
        ('He said "No." Then he left.', ['He said "No."', "Then he left."]),
        ("(It is free.) Come!", ["(It is free.)", "Come!"]),
        ("It costs 3.50 today. Or 4.", ["It costs 3.50 today.", "Or 4."]),
        ("Dr. Smith is in. Mr. Jones, e.g., is out.", ["Dr. Smith is in.", "Mr. Jones, e.g., is out."]),
        ("At 9 a.m. we open.", ["At 9 a.m. we open."]),
        ("J. R. R. Tolkien wrote it.", ["J. R. R. Tolkien wrote it."]),
        ("So did I. And you?", ["So did I.", "And you?"]),
        ("See www.example.com for more.", ["See www.example.com for more."]),
        ("First\nSecond\n\nThird", ["First", "Second", "Third"]),
        ("* One\r\n* Two\r\n", ["* One", "* Two"]),
        ("... — ! 😀. ", []),
        ("One.  Two.\tThree.", ["One.", "Two.", "Three."]),
        ("我们九点开门。五点关门！好吗？", ["我们九点开门。", "五点关门！", "好吗？"]),
        ("हम नौ बजे खुलते हैं। आइए।", ["हम नौ बजे खुलते हैं।", "आइए।"]),
        ("متى تفتحون؟ في التاسعة.", ["متى تفتحون؟", "في التاسعة."]),
    ],
)
def test_sentences_end_where_a_speaker_would_pause(text: str, sentences: list[str]) -> None:
    assert split(text) == sentences


def test_a_sentence_comes_as_soon_as_it_is_known_to_be_over() -> None:
    sentences = Sentences()
    assert sentences.feed("We open at nine") == []
    assert sentences.feed(".") == []  # it may be 9.30
    assert sentences.feed(" W") == ["We open at nine."]
    assert sentences.finish() == ["W"]
    assert sentences.finish() == []


def test_a_sentence_without_an_end_is_cut_at_a_breath() -> None:
    clause = "and then there is another thing to say about it"
    text = ", ".join([clause] * 12)
    sentences = split(text)
    assert all(sentence.endswith(",") for sentence in sentences[:-1])
    assert all(200 < len(sentence) <= 300 for sentence in sentences[:-1])
    assert " ".join(sentences) == text


def test_without_a_comma_at_a_space_and_without_a_space_anywhere() -> None:
    text = "word " * 100
    assert " ".join(split(text)) == text.strip()
    assert all(len(sentence) < 300 for sentence in split(text))
    assert split("x" * 700) == ["x" * 300, "x" * 300, "x" * 100]
