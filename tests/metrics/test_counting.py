"""What of a call is counted, and that sound is not."""

from collections.abc import Sequence

import pytest

from voice.core import events as ev
from voice.core.audio import Audio
from voice.metrics import counting, series

END = ev.EndCall("completed", "caller-hung-up")


class Counts:
    """What was added to the figures of this process since this was made."""

    def __init__(self) -> None:
        self._before = self._all()

    def more(self) -> dict[str, float]:
        added = {name: value - self._before.get(name, 0.0) for name, value in self._all().items()}
        return {name: value for name, value in added.items() if value}

    def _all(self) -> dict[str, float]:
        return {
            " ".join([sample.name, *sample.labels.values()]): sample.value
            for family in series.REGISTRY.collect()
            for sample in family.samples
            if not sample.name.endswith(("_created", "_bucket"))
        }


def added(event: ev.Event, actions: Sequence[ev.Action] = ()) -> dict[str, float]:
    counts = Counts()
    counting.happened(event, actions)
    return counts.more()


def test_sound_marks_and_words_touch_no_figure() -> None:
    audio = Audio(b"\xff" * 160)
    events: list[ev.Event] = [
        ev.SpeechArrived(2, audio, ev.Alignment()),
        ev.MarkReturned(2, 400),
        ev.TranscriptExtended("item", "hello"),
        ev.SentenceReady(2, "Hello."),
        ev.CallerStartedSpeaking(),
    ]
    actions: list[ev.Action] = [ev.PlayAudio(2, audio), ev.SendMark(2, 400), ev.Speak(2, "Hello."), ev.ClearPlayout()]
    for event in events:
        assert added(event, actions) == {}
    assert not {type(each) for each in (*events, *actions)} & counting._COUNTED.keys()


def test_a_turn_that_the_caller_cut_short_is_a_barge_in() -> None:
    cut = ev.RecordTurn(2, "Hi", "We are op", True)
    assert added(ev.CallerStartedSpeaking(), [cut]) == {"voice_turns_total": 1, "voice_barge_ins_total": 1}
    assert added(ev.CallerHungUp(), [cut, END]) == {"voice_turns_total": 1}, "the end of the call cut it"
    unheard = ev.RecordTurn(2, "Hi", "", True)
    assert added(ev.CallerStartedSpeaking(), [unheard]) == {"voice_turns_total": 1}


def test_a_noise_that_stopped_the_agent_is_no_rescue() -> None:
    noise = ev.RecordDelay(2, "words", "went on after a false interruption")
    assert added(ev.DeadlinePassed(), [noise]) == {"voice_false_interruptions_total": 1}
    late = ev.RecordDelay(2, "first token", "filler")
    assert added(ev.DeadlinePassed(), [late]) == {"voice_dead_air_rescues_total first token filler": 1}


@pytest.mark.parametrize(
    ("event", "actions", "expected"),
    [
        (
            ev.TranscriberLost("reset"),
            (),
            {"voice_vendor_errors_total transcriber": 1, "voice_vendor_reconnects_total transcriber": 1},
        ),
        (ev.VendorFailed("synthesizer", "reset"), (), {"voice_vendor_errors_total synthesizer": 1}),
        (
            ev.VendorFailed("language model", "403", refused=True, account=True),
            (),
            {"voice_vendor_errors_total language model": 1, "voice_vendor_refusals_total language model": 1},
        ),
        (
            ev.DeadlinePassed(),
            (ev.ChangeSynthesizer("anew"), ev.StartReply(2, attempt=2)),
            {"voice_vendor_reconnects_total synthesizer": 1, "voice_vendor_reconnects_total language model": 1},
        ),
        (ev.DeadlinePassed(), (ev.StartReply(2),), {}),
        (ev.DeadlinePassed(), (ev.RecordWaste(2, 40),), {"voice_replies_thrown_away_total": 1}),
    ],
)
def test_vendors(event: ev.Event, actions: Sequence[ev.Action], expected: dict[str, float]) -> None:
    assert added(event, actions) == expected


def test_the_stages_of_a_turn_add_up_to_the_wait() -> None:
    # Begun on words that were not final: the answer was ready when they were.
    times = ev.TurnTimes(10.0, 10.5, 11.25, 10.75, 11.0, 11.5, 11.75)
    assert list(counting.steps(times)) == [
        ("stopped", 10.0, 10.5),
        ("transcript", 10.5, 11.25),
        ("first_token", 11.25, 11.25),
        ("first_sentence", 11.25, 11.25),
        ("first_audio", 11.25, 11.5),
        ("heard", 11.5, 11.75),
    ]
    counts = added(ev.DeadlinePassed(), [ev.RecordTurn(2, "Hi", "Hello", False, times)])
    assert counts["voice_response_seconds_sum"] == 1.75
    assert sum(value for name, value in counts.items() if name.startswith("voice_stage_seconds_sum")) == 1.75
    assert counts["voice_stage_seconds_count first_token"] == 1


def test_a_turn_without_a_question_counts_from_the_first_stage_that_it_has() -> None:
    assert list(counting.steps(ev.TurnTimes(first_audio=0.25, heard=0.5))) == [("heard", 0.25, 0.5)]
    assert list(counting.steps(ev.TurnTimes())) == []


def test_the_end_of_a_call_and_what_it_has_cost() -> None:
    counts = Counts()
    counting.call_started("outbound", carried_on=False)
    counting.call_started("outbound", carried_on=True)
    counting.call_ended(END, 75.0, {"telephone": 0.01, "synthesizer": -0.000001})
    assert counts.more() == {
        "voice_calls_started_total outbound": 1,
        "voice_resumes_total": 1,
        "voice_calls_ended_total completed caller-hung-up": 1,
        "voice_call_seconds_count": 1,
        "voice_call_seconds_sum": 75,
        "voice_cost_usd_total telephone": pytest.approx(0.01),
    }
