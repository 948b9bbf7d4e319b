"""Rows 13 to 23: the language model refuses, stalls or drips, and the caller hears words or a filler in time."""

import time

import pytest

from tests.chaos.harness import APOLOGY, FILLER, SILENCE_MS, Row, Victim
from tests.chaos.seen import compared
from tests.running import wait_until
from voice.sandbox import faults
from voice.sandbox.bench_script import ONSET_FRAMES
from voice.sandbox.chaos_faults import Drip
from voice.sandbox.chaos_passage import Passage
from voice.sandbox.delays import Delays
from voice.sandbox.demo_script import Answer
from voice.sandbox.xai import Asked

_DECIDED_S = SILENCE_MS / 1000
"""From the caller's last sound to the decision that the turn is the agent's."""
_FIRST, _SECOND = "The first sentence is a short one.", "The second one is longer and nobody hears all of it today."


def _decided(victim: Victim, words: str = "Where are you") -> float:
    """Ask; `time.monotonic()` of the decision that the caller has finished."""
    return victim.ask(words) + _DECIDED_S


def _requests(row: Row, count: int, timeout: float) -> list[Asked]:
    requests = row.vendors.xai.requests
    wait_until(lambda: len(requests) >= count, timeout, f"request {count}")
    return requests


def _under_way(row: Row) -> Passage:
    """The victim's connection to the language model; those that earlier victims left are kept, and idle."""
    return max(row.chaos.xai.victims, key=lambda passage: passage.claimed_at)


@pytest.mark.matrix(13)
@pytest.mark.parametrize(
    ("headers", "earliest", "latest"),
    [({}, 0.0, 0.35), pytest.param({"retry-after": "1"}, 0.0, 1.2, marks=pytest.mark.full)],
    ids=["429", "429 with Retry-After"],
)
def test_too_many_requests_is_asked_once_more(
    row: Row, headers: dict[str, str], earliest: float, latest: float
) -> None:
    victim = row.greeted()
    row.vendors.xai.faults.append(faults.AnswerStatus(429, headers=headers))
    decided = _decided(victim)
    first, second = _requests(row, 2, 4)[:2]
    heard_s = victim.sound_after(decided)
    row.tell("asked_again_after_ms", round((second.asked_at - first.asked_at) * 1000))
    row.tell("sound_after_s", round(heard_s, 2))
    assert earliest <= second.asked_at - first.asked_at <= latest and heard_s <= 2.5
    victim.wait_until_heard("You said: Where are you")
    assert len(row.vendors.xai.requests) == 2


@pytest.mark.full
@pytest.mark.matrix(13, 14)
@pytest.mark.parametrize("status", [429, 503])
def test_a_model_that_is_never_there_is_apologized_for(row: Row, status: int) -> None:
    victim = row.greeted()
    row.vendors.xai.faults += [faults.AnswerStatus(status)] * 20
    decided = _decided(victim)
    heard_s = victim.sound_after(decided)
    victim.wait_until_heard(APOLOGY)
    words_s = victim.heard_at(APOLOGY) - decided
    row.tell("sound_after_s", round(heard_s, 2))
    row.tell("words_after_s", round(words_s, 2))
    assert heard_s <= 2.5 and words_s <= 6
    assert 2 <= len(row.vendors.xai.requests) <= 3
    victim.wait_until_over()


@pytest.mark.full
@pytest.mark.matrix(14)
@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_failure_before_the_first_token_is_asked_once_more(row: Row, status: int) -> None:
    victim = row.greeted()
    row.vendors.xai.faults.append(faults.AnswerStatus(status))
    decided = _decided(victim)
    victim.wait_until_heard("You said: Where are you")
    words_s = victim.heard_at("You said") - decided
    row.tell("words_after_s", round(words_s, 2))
    assert words_s <= 2.5 and len(row.vendors.xai.requests) == 2


@pytest.mark.full
@pytest.mark.matrix(16)
def test_a_dial_that_gets_no_answer_is_covered_and_given_up(row: Row) -> None:
    victim = row.greeted()
    with row.chaos.nobody_asks():
        # Kept connections would not be dialed; and at a dial nobody can be told from anybody.
        row.chaos.xai.cut_all()
        row.chaos.xai.blackhole()
        decided = _decided(victim)
        filler_s = victim.sound_after(decided)
        victim.wait_until_heard(APOLOGY)
        row.chaos.xai.heal()
    given_up_s = victim.heard_at(APOLOGY) - decided
    row.tell("filler_after_s", round(filler_s, 2))
    row.tell("given_up_after_s", round(given_up_s, 2))
    assert victim.heard_at(FILLER) and 0.5 <= filler_s <= 1.8
    assert 3 <= given_up_s <= 6.3
    victim.wait_until_over()


@pytest.mark.full
@pytest.mark.matrix(16)
def test_a_dial_that_is_answered_the_second_time_is_an_answer(row: Row) -> None:
    victim = row.greeted()
    with row.chaos.nobody_asks():
        row.chaos.xai.cut_all()
        row.chaos.xai.blackhole()
        decided = _decided(victim)
        victim.wait_until_heard(FILLER)
        row.chaos.xai.heal()
        victim.wait_until_heard("You said: Where are you")
    row.tell("words_after_s", round(victim.heard_at("You said") - decided, 2))
    assert victim.heard_at("You said") - decided <= 6


@pytest.mark.full
@pytest.mark.matrix(17)
def test_a_first_token_that_does_not_come_is_covered_and_asked_for_again(row: Row) -> None:
    victim = row.greeted()
    row.vendors.xai.faults.append(faults.NeverAnswer())
    decided = _decided(victim)
    filler_s = victim.sound_after(decided)
    first, second = _requests(row, 2, 8)[:2]
    victim.wait_until_heard("You said: Where are you")
    row.tell("filler_after_s", round(filler_s, 2))
    row.tell("asked_again_after_s", round(second.asked_at - first.asked_at, 2))
    assert 1.0 <= filler_s <= 2.0 and victim.heard_text.count(FILLER) == 1
    assert 3.0 <= second.asked_at - first.asked_at <= 5.2
    wait_until(lambda: first.cancelled, 2, "the first request is given up")
    assert len(row.vendors.xai.requests) == 2


@pytest.mark.full
@pytest.mark.matrix(18)
def test_an_answer_that_stalls_after_its_first_words_is_gone_on_with(row: Row) -> None:
    victim = row.greeted()
    row.vendors.xai.answer = lambda messages: Answer(f"{_FIRST} {_SECOND}")
    row.vendors.xai.faults.append(faults.StallAfter(9))
    decided = _decided(victim)
    victim.wait_until_heard(_FIRST)
    (stalled,) = row.vendors.xai.requests
    at = stalled.sent_at[-1]
    wait_until(lambda: stalled.cancelled, 8, "the stalled answer is given up")
    given_up_s = time.monotonic() - at
    victim.wait_until_silent(1500, timeout=15)
    silence = victim.silence(decided + 2.5, victim.began + victim.agent_spans_ms[-1][1] / 1000)
    row.tell("given_up_after_s", round(given_up_s, 2))
    row.tell("longest_silence_s", round(silence, 2))
    assert 3.0 <= given_up_s <= 4.3
    assert silence <= 5.0 and victim.heard_text.count(_FIRST) == 1


@pytest.mark.full
@pytest.mark.matrix(19)
def test_an_answer_that_is_reset_keeps_what_was_heard_of_it(row: Row) -> None:
    """Twice: the second time what the agent says of itself is kept as sound, and comes at once."""
    off = [_words_off_after_a_reset(row) for _ in range(2)]
    row.tell("history_words_off", max(off))
    assert max(off) <= 1


def _words_off_after_a_reset(row: Row) -> int:
    victim = row.greeted()
    row.vendors.xai.answer = lambda messages: Answer(f"{_FIRST} {_SECOND}")
    row.vendors.xai.faults.append(faults.ResetAfter(12))
    _decided(victim)
    victim.wait_until_heard(_FIRST)
    victim.wait_until_silent(800)
    heard = victim.heard_text
    assert heard.count(_FIRST) == 1
    row.vendors.xai.answer = lambda messages: Answer("Here I am.")
    victim.ask("Are you still there")
    victim.wait_until_heard("Here I am.")
    history = [m["content"] for m in row.vendors.xai.requests[-1].body["messages"] if m["role"] == "assistant"]
    words = compared(" ".join(history), heard)
    print(f"the history has {history}, heard was {heard!r}")
    victim.hang_up()
    victim.wait_until_over()
    return words.missing + words.twice


@pytest.mark.full
@pytest.mark.matrix(20)
def test_malformed_lines_are_passed_over_and_three_in_a_row_are_a_failure(row: Row) -> None:
    victim = row.greeted()
    row.vendors.xai.faults.append(faults.RawAfter(2, b'data: {"choices": [{"del\n\n'))
    victim.ask("Where are you")
    victim.wait_until_heard("You said: Where are you")
    assert len(row.vendors.xai.requests) == 1
    victim.wait_until_silent()
    row.vendors.xai.faults.append(faults.RawAfter(0, b"data: {\n\n" * 3))
    victim.ask("And when are you open")
    victim.wait_until_heard("You said: And when are you open")
    assert len(row.vendors.xai.requests) == 3


@pytest.mark.full
@pytest.mark.matrix(21)
def test_an_answer_that_drips_is_cut_at_the_turns_deadline(row: Row) -> None:
    """Each word comes in time for a clock that begins anew with every word."""
    victim = row.greeted()
    row.vendors.xai.delays = Delays(token_ms=1800)
    row.vendors.xai.answer = lambda messages: Answer("and then " * 40)
    victim.ask("Where are you")
    (dripping,) = _requests(row, 1, 3)
    wait_until(lambda: dripping.cancelled, 20, "the answer is given up")
    cut_s = time.monotonic() - dripping.asked_at
    row.tell("cut_after_s", round(cut_s, 2))
    assert 14.5 <= cut_s <= 15.6


def _dripping(row: Row) -> list[Passage]:
    """Connections of earlier victims may be kept for whoever asks next."""
    return [passage for passage in row.chaos.xai.victims if isinstance(passage.fault, Drip)]


@pytest.mark.full
@pytest.mark.matrix(21)
def test_an_answer_of_a_byte_a_second_is_no_answer(row: Row) -> None:
    victim = row.greeted()
    row.chaos.xai.expect(Drip(bytes_per_s=1))
    decided = _decided(victim)
    victim.wait_until_heard(APOLOGY, timeout=20)
    words_s = victim.heard_at(APOLOGY) - decided
    row.tell("words_after_s", round(words_s, 2))
    assert 3 <= words_s <= 15.5
    assert victim.sound_after(decided) <= 2.0
    wait_until(lambda: not _dripping(row), 2, "the dripping connections are closed")
    victim.wait_until_over()


@pytest.mark.matrix(22)
def test_a_caller_who_interrupts_ends_the_answer_at_once(row: Row) -> None:
    victim = row.greeted()
    row.vendors.xai.delays = Delays(token_ms=120)
    row.vendors.xai.answer = lambda messages: Answer("One word follows the other. " * 20)
    victim.ask("Tell me")
    victim.wait_until_heard("follows the")
    answering = _under_way(row)
    assert answering.ended_at is None
    row.vendors.xai.answer = lambda messages: Answer("All right.")
    said = victim.say_async("Stop it now")
    victim.wait_for("clear", timeout=3)
    cleared = victim.journal.all("clear")[0].at
    began = next(e.at for e in reversed(victim.journal.all("utterance-began")) if e.detail == "Stop it now")
    decisive = [at for at in victim.sent_at if at >= began][ONSET_FRAMES - 1]
    wait_until(lambda: answering.ended_at is not None, 2, "the connection to the model is closed")
    row.vendors.xai.delays = Delays()
    assert answering.ended_at is not None
    # What has stopped the agent may be a noise: the model writes on until there is a word.
    understood = next(at for at in row.vendors.openai.sessions[-1].deltas_at if at > cleared)
    closed_ms = (answering.ended_at - understood) * 1000
    said.over.wait()
    victim.wait_until_heard("All right.")
    answered = _requests(row, 2, 1)[-1].asked_at
    late = [entry for entry in victim.journal.all("media") if cleared < entry.at < answered]
    row.tell("clear_after_ms", round((cleared - decisive) * 1000, 1))
    row.tell("closed_after_ms", round(closed_ms, 1))
    row.tell("old_frames_after_clear", len(late))
    assert (cleared - decisive) * 1000 <= 80 and 0 <= closed_ms <= 50 and late == []


@pytest.mark.full
@pytest.mark.matrix(23)
def test_five_interruptions_in_three_seconds_leave_nothing_behind(row: Row) -> None:
    victim = row.greeted()
    row.vendors.xai.answer = lambda messages: Answer("One word follows the other. " * 20)
    victim.ask("Tell me a story")
    victim.wait_until_heard("follows the other")
    sockets = row.vendors.elevenlabs.sockets
    most = 0

    def contexts() -> int:
        return max(sum(not context.final_sent for context in socket.contexts) for socket in sockets)

    began = time.monotonic()
    for _ in range(5):
        # Each as soon as the agent speaks again: before that there is nothing to interrupt.
        victim.sound_after(victim.ask("No"))
        most = max(most, contexts())
    took_s = time.monotonic() - began
    row.vendors.xai.answer = lambda messages: Answer("All right.")
    victim.ask("Stop it now please")
    victim.wait_until_heard("All right.")
    row.tell("five_within_s", round(took_s, 1))
    row.tell("contexts_at_most", most)
    row.tell("answers_begun", len(row.vendors.xai.requests))
    row.tell("clears", len(victim.journal.all("clear")))
    assert len(victim.journal.all("clear")) == 6
    assert most <= 4 and took_s <= 6
    wait_until(lambda: contexts() <= 1, 5, "the contexts of the stopped answers are closed")
