"""The story of a call: told of logs and of records, with a verdict that names what a person would."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.stories import RULES, Story
from voice.core import call_log, story, story_log
from voice.core import events as ev
from voice.core.notes import unheard

CALLS = Path(__file__).parents[1] / "calls"


class Logged(Story):
    """A story that leaves a log."""

    def __init__(self, **rules: Any) -> None:
        call = {"call_sid": "CA" + "1" * 32, "agent": "plain", "started": "2026-11-22T12:00:00Z"}
        plain = vars(RULES) | rules
        self.lines = [json.dumps({"call": call, "rules": plain, "past": {"turns": 0, "entries": []}})]
        super().__init__(**rules)

    def at(self, now: float, event: ev.Event) -> list[ev.Action]:
        actions = super().at(now, event)
        told = [call_log.event_line(event, now), *(call_log.action_line(action, now) for action in actions)]
        self.lines += [json.dumps(line) for line in told]
        return actions

    def told(self) -> story.Story:
        read = story_log.read(self.lines)
        return story.tell(read.record, read.past)


def _answered(call: Logged, at: float, turn: int, words: str, answer: str) -> None:
    """`words` are asked at that time, and answered at once."""
    call.asks(at, words, f"item-{turn}")
    call.writes(at + 2.3, turn, answer)
    call.sounds(at + 2.5, turn, answer + " ")
    call.at(at + 2.6, ev.SpeechFinished(turn))
    call.heard(at + 3.0, turn, 10)
    call.heard(at + 2.5 + len(answer) / 20 + 0.1, turn, len(answer) + 1)


def test_a_call_that_went_as_it_should() -> None:
    call = Logged()
    _answered(call, 3.0, 2, "What are your hours?", "From nine to six.")
    told = call.told()
    assert told.verdict == "the call goes as it should; slowest turn 2.1 s" and not told.in_trouble
    (greeting, turn) = told.turns
    assert (greeting.caller, greeting.heard, greeting.took) == ("", "Hello there.", None)
    assert (turn.caller, turn.heard, turn.fate, turn.unheard) == (
        "What are your hours?",
        "From nine to six.",
        "heard",
        "",
    )
    assert [(stage.name, round(stage.start, 1), round(stage.end, 1)) for stage in turn.stages] == [
        ("stopped", 3.4, 4.0),
        ("transcript", 4.0, 5.0),
        ("first_token", 5.0, 5.3),
        ("first_sentence", 5.3, 5.3),
        ("first_audio", 5.3, 5.5),
        ("heard", 5.5, 5.5),
    ]
    assert not any(stage.is_late for stage in turn.stages)


def test_a_final_transcript_that_never_came_is_the_verdict() -> None:
    call = Logged(preemptive="off")
    call.starts(3.0)
    call.understood(3.5, "What are your hours")
    call.stops(4.0)
    call.passes_until(ev.StartReply)
    assert call.now == pytest.approx(5.8)
    call.passes_until(ev.SpeakKnown)
    call.sounds(7.4, 2, "One moment, please. ")
    call.writes(8.0, 2, "From nine to six.")
    call.sounds(8.2, 2, "From nine to six. ")
    call.heard(8.4, 2, 20)
    call.at(9.5, ev.SpeechFinished(2))
    call.heard(9.5, 2, 38)
    told = call.told()
    assert told.verdict == (
        "turn 2 took 4.0 s: first token 0.7 s late, covered by a filler; the transcriber was late, forced from deltas"
    )
    assert told.in_trouble


def test_a_transcript_that_came_late_is_told_with_how_late() -> None:
    call = Logged(preemptive="off")
    call.starts(3.0)
    call.stops(4.0)
    call.passes_until(ev.CommitUtterance)
    call.final(6.9, "What are your hours?")
    call.writes(7.0, 2, "From nine to six.")
    call.sounds(7.1, 2, "From nine to six. ")
    call.heard(7.6, 2, 10)
    call.heard(8.1, 2, 18)
    assert call.told().verdict == "turn 2 took 3.7 s: final transcript 1.1 s late, asked for again"


def test_what_was_cut_off_is_told_apart_from_what_was_heard() -> None:
    call = Logged()
    call.asks(3.0, "Tell me all.")
    call.writes(5.3, 2, "There is a lot to tell.", "Where shall I begin?")
    call.sounds(5.5, 2, "There is a lot to tell. ")
    call.heard(6.0, 2, 10)
    call.starts(6.2)
    call.understood(6.5, "No stop it", "item-2")
    turn = call.told().turns[-1]
    assert (turn.heard, turn.unheard, turn.fate) == ("There is a", "lot to tell. Where shall I begin?", "cut")


def test_what_was_thrown_away_was_not_heard() -> None:
    call = Logged()
    call.starts(3.0)
    call.stops(4.0)
    call.understood(4.2, "What are")
    call.passes_until(ev.StartReply)
    call.writes(4.6, 2, "What are what?")
    call.final(5.0, "What are your hours?")
    turn = call.told().turns[1]
    assert (turn.heard, turn.unheard, turn.fate, turn.took) == ("", "What are what?", "thrown away", None)


def test_tools_have_their_arguments_results_and_time() -> None:
    call = Logged()
    call.asks(3.0, "Text me.")
    call.at(5.2, ev.ReplyStarted(2))
    call.at(5.3, ev.ToolCalled(2, "call-1", "send_sms", '{"text": "Mill Lane"}'))
    call.at(5.3, ev.ReplyFinished(2))
    call.at(6.0, ev.ToolFinished(2, "call-1", '{"sent": true}'))
    call.writes(6.3, 2, "It is done.")
    call.sounds(6.4, 2, "It is done. ")
    call.heard(7.0, 2, 12)
    turn = call.told().turns[-1]
    (tool,) = turn.tools
    assert (tool.name, tool.arguments, tool.result) == ("send_sms", '{"text": "Mill Lane"}', '{"sent": true}')
    assert tool.seconds == pytest.approx(0.7)
    assert [stage.name for stage in turn.stages] == [
        "stopped",
        "transcript",
        "first_token",
        "tool",
        "first_sentence",
        "first_audio",
        "heard",
    ]


def test_a_vendor_that_ends_the_call_is_the_verdict() -> None:
    call = Logged()
    call.asks(3.0, "Hello?")
    call.at(5.1, ev.VendorFailed("language model", "403: no credit", 2, refused=True))
    call.at(5.2, ev.StreamLost("gone"))
    assert call.told().verdict.startswith("the call was lost after turn 3 (stream lost)")


@pytest.mark.parametrize("path", sorted(CALLS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_the_recorded_calls_have_a_story(path: Path) -> None:
    with path.open(encoding="utf-8") as lines:
        read = story_log.read(lines)
    told = story.tell(read.record, read.past)
    assert told.verdict and len(told.turns) == len(read.record["turns"]) > 0


def test_the_verdicts_of_the_recorded_calls() -> None:
    verdicts = {}
    for name in ("demo_call_with_barge_in", "language_model_out_of_credit"):
        read = story_log.read((CALLS / f"{name}.jsonl").read_text().splitlines())
        verdicts[name] = story.tell(read.record, read.past).verdict
    assert verdicts == {
        "demo_call_with_barge_in": "the call went as it should; slowest turn 2.3 s; carried on once on another stream",
        "language_model_out_of_credit": "the language model failed in turn 2: "
        "403: 'Your team has used all available credits.'",
    }


@pytest.mark.parametrize("text", ["", "nonsense", "{}", '{"t": 0.0, "event": "CallerHungUp"}', "[]"])
def test_what_is_no_log_has_no_story(text: str) -> None:
    with pytest.raises(ValueError, match="line"):
        story_log.read(text.splitlines())


def test_unheard_is_what_follows_the_words_heard() -> None:
    assert unheard("One two  three", "One two") == "three"
    assert unheard("One two", "One two") == unheard("", "") == ""


_times = st.one_of(st.none(), st.floats(0, 100))
_turns = st.fixed_dictionaries(
    {
        "number": st.integers(1, 20),
        "caller": st.text(max_size=20),
        "agent": st.text(max_size=20),
        "cut": st.booleans(),
        "at": st.floats(0, 100),
        "times": st.dictionaries(st.sampled_from([*ev.TurnTimes.__annotations__, "asked"]), _times),
    }
)
_details: dict[str, Any] = {
    "late": {
        "stage": st.sampled_from(["transcript", "first token", "words", "speech", "something new"]),
        "remedy": st.text(max_size=9),
    },
    "vendor-failed": {"vendor": st.sampled_from(["transcriber", "language model"]), "detail": st.text(max_size=9)},
    "tool-finished": {"tool": st.text(max_size=5), "seconds": st.floats(0, 50)},
    "tool-called": {"tool": st.text(max_size=5)},
    "unheard": {"text": st.text(max_size=5)},
    "something-new": {},
}
_events = st.sampled_from(sorted(_details)).flatmap(
    lambda kind: st.fixed_dictionaries(
        {
            "kind": st.just(kind),
            "at": st.floats(0, 100),
            "detail": st.fixed_dictionaries({"turn": st.integers(0, 20), **_details[kind]}),
        }
    )
)
_ends = st.sampled_from(
    [None, "completed", "failed", "lost", "transferred", "handed-over", "busy", "no-answer", "canceled"]
)


@settings(max_examples=150, deadline=None)
@given(
    turns=st.lists(_turns, max_size=6),
    happened=st.lists(_events, max_size=6),
    result=_ends,
    reason=st.sampled_from(["", "language-model-failed", "caller-hung-up", "stream-lost"]),
    resumes=st.integers(0, 3),
)
def test_whatever_is_in_a_record_it_has_a_story(
    turns: list[Any], happened: list[Any], result: str | None, reason: str, resumes: int
) -> None:
    ended = None if result is None else 101.0
    end = {"started_at": 0.0, "ended_at": ended, "result": result, "reason": reason, "resumes": resumes}
    told = story.tell({**end, "turns": turns, "events": happened})
    assert told.verdict and len(told.turns) == len(turns) and len(told.happenings) == len(happened)
    for turn in told.turns:
        assert turn.took is None or turn.took >= 0
        for stage in turn.stages:
            assert stage.end >= stage.start and stage.late_by >= 0
            assert stage.is_late <= (stage.late_by > 0)
    if told.in_trouble:
        assert "as it should" not in told.verdict
    slowest = max(told.waits, default=0.0)
    if not told.in_trouble and slowest:
        assert f"slowest turn {slowest:.1f} s" in told.verdict
