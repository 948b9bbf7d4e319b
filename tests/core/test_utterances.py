import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice.core.utterances import Utterances


def spoken(utterances: Utterances, count: int = 1) -> None:
    for _ in range(count):
        utterances.started()
        utterances.stopped()


@pytest.mark.matrix(12)
@given(st.permutations(range(5)), st.data())
def test_words_come_in_the_order_of_speaking(order: list[int], data: st.DataObject) -> None:
    utterances = Utterances()
    spoken(utterances, 5)
    for n in range(5):
        utterances.committed(f"item{n}")
    for done, n in enumerate(order):
        assert utterances.awaited and not utterances.settled
        for part in data.draw(st.lists(st.sampled_from(["par", "tial"]), max_size=3)):
            utterances.extended(f"item{n}", part)
        if data.draw(st.booleans(), label="failed"):
            utterances.failed(f"item{n}")
            order = [o for o in order if o != n]
        utterances.finished(f"item{n}", f" word{n} ")
    assert utterances.settled and not utterances.awaited
    assert utterances.take() == "word0 word1 word2 word3 word4"


@pytest.mark.matrix(12)
@given(st.integers(1, 4), st.integers(0, 4), st.permutations(range(4)))
def test_what_comes_after_the_answer_never_appears(count: int, named: int, order: list[int]) -> None:
    """Some of the first utterances have a name when they are answered, the others get theirs only afterwards."""
    utterances = Utterances()
    spoken(utterances, count)
    for n in range(min(named, count)):
        utterances.committed(f"old{n}")
    utterances.give_up()
    assert utterances.take() == ""
    spoken(utterances)
    for n in range(min(named, count), count):
        utterances.committed(f"old{n}")
    utterances.committed("new")
    for n in (n for n in order if n < count):
        utterances.extended(f"old{n}", "late")
        utterances.finished(f"old{n}", "late words")
        assert not utterances.settled
    utterances.finished("new", "new words")
    assert utterances.settled
    assert utterances.take() == "new words"


def test_text_that_comes_while_the_caller_speaks_names_the_utterance() -> None:
    utterances = Utterances()
    utterances.started()
    utterances.extended("a", "When do ")
    utterances.extended("a", "you open")
    utterances.stopped()
    utterances.committed("a")
    assert utterances.awaited
    utterances.give_up()
    assert utterances.settled
    assert utterances.take() == "When do you open"


def test_going_on_speaking_is_the_same_utterance() -> None:
    utterances = Utterances()
    utterances.started()
    utterances.started()
    utterances.stopped()
    utterances.committed("a")
    utterances.finished("a", "one thing")
    assert utterances.take() == "one thing"


def test_nothing_said_is_nothing_settled() -> None:
    utterances = Utterances()
    assert not utterances.settled and not utterances.awaited
    utterances.stopped()
    utterances.give_up()
    assert not utterances.settled
    assert utterances.take() == ""


def test_an_utterance_without_words_leaves_no_gap() -> None:
    utterances = Utterances()
    spoken(utterances, 3)
    for item, text in (("a", "yes"), ("b", "  "), ("c", "please")):
        utterances.committed(item)
        utterances.finished(item, text)
    assert utterances.take() == "yes please"


def test_words_where_the_speech_detector_heard_nothing_count() -> None:
    utterances = Utterances()
    utterances.finished("a", "quietly said")
    assert utterances.settled
    assert utterances.take() == "quietly said"
    utterances.finished("a", "again")
    assert utterances.take() == ""


def test_a_failure_leaves_what_was_understood_so_far() -> None:
    utterances = Utterances()
    spoken(utterances)
    utterances.extended("a", "I would like ")
    utterances.failed("a")
    assert utterances.settled
    assert utterances.take() == "I would like"
    utterances.failed("a")
    utterances.failed("unknown")
    assert not utterances.settled


def test_an_utterance_that_was_not_taken_gets_no_name() -> None:
    """A click is too short for the transcriber: it refuses the commit, and the next name is the next utterance's."""
    utterances = Utterances()
    spoken(utterances)
    utterances.failed("")
    spoken(utterances)
    utterances.committed("a")
    assert not utterances.settled
    utterances.finished("a", "hello")
    assert utterances.settled
    assert utterances.take() == "hello"


@pytest.mark.parametrize("clicks", [1, 3])
def test_clicks_that_were_not_taken_swallow_no_words_that_come_later(clicks: int) -> None:
    utterances = Utterances()
    for _ in range(clicks):
        spoken(utterances)
        utterances.failed("")
    assert utterances.settled
    assert utterances.take() == ""
    spoken(utterances)
    utterances.committed("a")
    utterances.finished("a", "hello")
    assert utterances.take() == "hello"


def test_a_refused_commit_does_not_fail_the_utterance_before_it() -> None:
    utterances = Utterances()
    spoken(utterances)
    utterances.committed("a")
    spoken(utterances)
    utterances.failed("")
    assert utterances.awaited
    utterances.finished("a", "hello")
    assert utterances.settled
    assert utterances.take() == "hello"


def test_a_refused_commit_of_nothing_is_nothing() -> None:
    utterances = Utterances()
    utterances.failed("")
    spoken(utterances)
    utterances.committed("a")
    utterances.finished("a", "hello")
    assert utterances.take() == "hello"
