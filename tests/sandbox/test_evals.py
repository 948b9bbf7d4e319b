"""The evals: scripts that are refused, the judge on calls made up by hand, and one small run with the real server."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from voice.core.audio import FRAME_BYTES, loudness
from voice.sandbox import eval_report
from voice.sandbox.eval_cast import SCRIPTS, cast
from voice.sandbox.eval_history import words
from voice.sandbox.eval_judge import Verdict, judge
from voice.sandbox.eval_noise import NOISES, noise
from voice.sandbox.eval_script import Script, ScriptError, Step, read
from voice.sandbox.eval_seen import Done, Seen, Sound, Words, sounds
from voice.sandbox.evals import echo, run
from voice.sandbox.journal import Entry

# Scripts


def _written(folder: Path, text: str, name: str = "script.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_script_is_read_with_what_is_expected_where_it_says_nothing(tmp_path: Path) -> None:
    script = read(
        _written(
            tmp_path,
            """
            agent = "plain"
            needs_tools = ["hang_up"]
            [[steps]]
            say = "Hello"
            [[steps]]
            say = "Stop"
            while_agent_speaks = true
            after_ms = 700
            [[steps]]
            noise = "cough"
            ms = 250
            while_agent_speaks = true
            [[steps]]
            silence_s = 1.5
            [[steps]]
            press = "12#"
            expect_words = ["one", "two"]
            [[steps]]
            wait_for_hang_up = true
            """,
        )
    )
    assert script == Script(
        "script",
        tmp_path,
        "plain",
        ("hang_up",),
        3.0,
        (
            Step("say", "Hello", expect="answer"),
            Step("say", "Stop", while_agent_speaks=True, after_ms=700, expect="stop"),
            Step("noise", "cough", 0.25, while_agent_speaks=True, expect="no_stop"),
            Step("silence_s", seconds=1.5),
            Step("press", "12#", expect="answer", expect_words=("one", "two")),
            Step("wait_for_hang_up"),
        ),
    )
    assert [step.asks for step in script.steps] == [True, True, False, False, True, False]


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        ("", "step 1: has nothing to do; allowed: one of say, noise"),
        ('say = "a"\npress = "1"', "step 1: has say and press; allowed: one of"),
        ("say = 3", "step 1: say is 3; allowed: words"),
        ('say = "..."', "step 1: say is '...'; allowed: words"),
        ('say = "a"\nloud = true', "step 1: loud does not go with say; allowed: while_agent_speaks"),
        ('say = "a"\nafter_ms = 5', "step 1: after_ms has no meaning without it; allowed: while_agent_speaks = true"),
        ('say = "a"\nwhile_agent_speaks = "yes"', "step 1: while_agent_speaks is 'yes'; allowed: true or false"),
        ('say = "a"\nexpect = "stop"', "step 1: expect is 'stop'; allowed: for say: answer, nothing"),
        ('say = "a"\nexpect = "nothing"\nexpect_words = ["b"]', "step 1: expect_words has no answer to be heard in"),
        ('say = "a"\nexpect_words = "b"', "step 1: expect_words is 'b'; allowed: a list of texts"),
        ('noise = "bang"', "step 1: noise is 'bang'; allowed: cough, door, keyboard, hum, babble"),
        ('noise = "hum"\nms = 5', "step 1: ms is 5; allowed: a number from 20 to 60000"),
        ("silence_s = true", "step 1: silence_s is True; allowed: a number"),
        ('press = "1a"', "step 1: press is '1a'; allowed: keys of 0-9 * #"),
        ("hang_up = false", "step 1: hang_up is False; allowed: true"),
        ('hang_up = true\n[[steps]]\nsay = "a"', "step 1: hang_up is not the last step"),
    ],
)
def test_a_fault_of_a_step_is_told_with_what_is_allowed(tmp_path: Path, step: str, fault: str) -> None:
    with pytest.raises(ScriptError) as refused:
        read(_written(tmp_path, f"[[steps]]\n{step}\n"))
    assert fault in str(refused.value)


def test_every_fault_of_a_file_is_told(tmp_path: Path) -> None:
    text = 'agnet = "x"\nneeds_tools = 1\nmax_dead_air_s = "a"\n[[steps]]\nsay = 1\n[[steps]]\nnoise = 1\n'
    with pytest.raises(ScriptError) as refused:
        read(_written(tmp_path, text))
    assert str(refused.value).count("\n") == 4
    for nothing in ("", "steps = 1", "steps = []", "steps = ["):
        with pytest.raises(ScriptError):
            read(_written(tmp_path, nothing))


def test_every_script_of_the_project_is_read_and_has_its_agent() -> None:
    chosen = cast((), None)
    assert len(chosen.parts) == len(list(SCRIPTS.glob("*.toml"))) >= 10
    assert len({part.number for part in chosen.parts}) == len(chosen.agents), "each agent is called at its own number"


def test_an_agent_of_the_users_takes_the_scripts_that_are_for_any(tmp_path: Path) -> None:
    mute = _written(tmp_path, 'numbers = ["+15551112222"]\n', "mute.toml")
    chosen = cast((), mute)
    assert {part.number for part in chosen.parts} == {"+15551112222"}
    assert "goodbye: mute does not have the tool hang_up" in chosen.left_out
    assert any(reason.startswith("backchannel: it is for the agent") for reason in chosen.left_out)
    polite = _written(tmp_path, 'tools = ["hang_up"]\n', "polite.toml")
    assert "goodbye" in {part.script.name for part in cast((), polite).parts}


def test_a_script_without_its_agent_is_refused(tmp_path: Path) -> None:
    path = _written(tmp_path, 'agent = "nobody"\n[[steps]]\nsay = "a"\n')
    with pytest.raises(ScriptError, match="there is no agent .*nobody.toml"):
        cast([path], None)
    (tmp_path / "agents").mkdir()
    _written(tmp_path / "agents", 'greeting = "a"\n', "nobody.toml")
    with pytest.raises(ScriptError, match="without a number it cannot be called"):
        cast([path], None)
    with pytest.raises(ScriptError, match="there is no script to play"):
        cast([path], _written(tmp_path, "", "mine.toml"))


@pytest.mark.parametrize("name", NOISES)
def test_noises_are_whole_frames_and_always_the_same(name: str) -> None:
    sound = noise(name, 0.31)
    assert len(sound) == 16 * FRAME_BYTES and sound == noise(name, 0.31)
    assert 100 < max(loudness(sound[at : at + FRAME_BYTES]) for at in range(0, len(sound), FRAME_BYTES)) < 20000


@pytest.mark.parametrize("name", ["cough", "door", "babble", "hum"])
def test_noises_are_loud_enough_to_be_taken_for_speech(name: str) -> None:
    """Otherwise the scripts would try nothing: 80 ms above what the quietest telephone speech has."""
    sound = noise(name, 0.32)
    loud = [loudness(sound[at : at + FRAME_BYTES]) > 80 for at in range(0, len(sound), FRAME_BYTES)]
    assert any(all(loud[at : at + 4]) for at in range(len(loud) - 3))


# What was seen


def test_sounds_are_told_apart_by_turn_and_by_pause() -> None:
    def received(at: float, kind: str, detail: object = "") -> Entry:
        return Entry(100 + at, "received", kind, detail)

    journal = [
        received(1.0, "media", 8000),
        received(1.0, "mark", "1:1000"),
        received(1.9, "media", 8000),
        received(1.9, "mark", "1:2000"),
        # 3.0 is the end of what was received: half a second later nothing had been playing.
        received(3.5, "media", 8000),
        received(3.5, "mark", "1:3000"),
        received(3.6, "media", 8000),
        received(3.6, "mark", "2:1000"),
        Entry(104.7, "sent", "mark", "1:3000"),
        received(4.75, "clear"),
        received(5.0, "media", 80000),
        received(5.0, "mark", "2:11000"),
        Entry(106.0, "call", "stream-ended", "stopped"),
    ]
    assert sounds(journal, 100) == [Sound(1, 1, 3), Sound(1, 3.5, 4.5), Sound(2, 4.5, 4.75), Sound(2, 5, 6)]


# The judge: a good call, and each way in which it can be a bad one

ANSWER = "You said: tell me all."
REPLY = "You said: stop that."
TELL = Step("say", "Tell me all.", expect="answer")
STOP = Step("say", "Stop that.", while_agent_speaks=True, after_ms=1000, expect="stop")
COUGH = Step("noise", "cough", 0.3, while_agent_speaks=True, expect="no_stop")
BYE = Step("wait_for_hang_up")


def _record(turn: int, caller: str, agent: str, cut: bool = False) -> dict[str, Any]:
    return {"t": 0.0, "action": "RecordTurn", "turn": turn, "caller": caller, "agent": agent, "cut": cut}


def _speak(turn: int, text: str) -> dict[str, Any]:
    return {"t": 0.0, "action": "Speak", "turn": turn, "text": text}


def _ask(turn: int) -> dict[str, Any]:
    return {"t": 0.0, "action": "StartReply", "turn": turn}


END = {"t": 9.0, "action": "EndCall", "result": "completed", "reason": "agent-hung-up"}


def _good() -> Seen:
    """A greeting, an answer that is interrupted, and one that the agent hangs up after."""
    return Seen(
        script=Script("made_up", Path(), None, (), 3.0, ()),
        agent="plain",
        call_sid="CA1",
        done=[Done(TELL, 2.0, 3.0), Done(STOP, 5.5, 6.5), Done(BYE, 8.0, 9.5)],
        sounds=[Sound(1, 0.5, 1.5), Sound(2, 4.5, 6.0), Sound(3, 7.7, 9.5)],
        words=[Words("Hello.", 0.5, True), Words("You said: tell m", 4.5, False), Words(REPLY, 7.7, True)],
        log=[
            _speak(1, "Hello."),
            _record(1, "", "Hello."),
            _ask(2),
            _speak(2, ANSWER),
            _record(2, "Tell me all.", "You said: tell", cut=True),
            _ask(3),
            _speak(3, REPLY),
            _record(3, "Stop that.", REPLY),
            END,
        ],
        remembered=[["Hello."], ["Hello.", "You said: tell"]],
        hung_up_by="server",
    )


def _with(seen: Seen, number: int, line: dict[str, Any]) -> Seen:
    return replace(seen, log=[*seen.log[:number], line, *seen.log[number + 1 :]])


def test_a_good_call_passes() -> None:
    assert judge(_good()) == Verdict("made_up", "plain", "CA1", 2, 2, 1.5, 0, 0, 0, 0, ())


def test_a_question_without_an_answer() -> None:
    seen = replace(_good(), sounds=[Sound(1, 0.5, 1.5), Sound(2, 4.5, 6.0)], hung_up_by="caller")
    verdict = judge(replace(seen, done=seen.done[:2]))
    assert (verdict.turns_asked, verdict.turns_answered) == (2, 1)
    assert "no answer to say Stop that." in verdict.faults


def test_a_request_to_say_it_again_is_no_answer() -> None:
    verdict = judge(_with(_good(), 7, _record(3, "", REPLY)))
    assert (verdict.turns_answered, verdict.faults) == (1, ("no answer to say Stop that.",))


def test_dead_air_before_an_answer() -> None:
    seen = _good()
    verdict = judge(replace(seen, script=replace(seen.script, max_dead_air_s=1.4)))
    assert verdict.longest_dead_air_s == 1.5
    assert verdict.faults == ("1.5 s of dead air after say Tell me all.",)


def test_dead_air_within_a_turn_counts_while_the_caller_is_quiet() -> None:
    seen = _good()
    halting = replace(seen, sounds=[Sound(1, 0.5, 0.6), Sound(1, 1.4, 1.5), *seen.sounds[1:]])
    assert judge(halting).longest_dead_air_s == 1.5
    halting = replace(seen, sounds=[Sound(1, -3.0, -2.9), Sound(1, 0.6, 1.5), *seen.sounds[1:]])
    assert judge(halting).faults == ("3.5 s of dead air within turn 1",)
    spoken_into = replace(halting, done=[Done(COUGH, -2.95, 0.0), *seen.done])
    assert judge(spoken_into).longest_dead_air_s == 1.5


def test_a_clipped_goodbye() -> None:
    seen = _good()
    clipped = replace(seen, words=[*(seen.words or ())[:2], Words("You said: st", 7.7, False)])
    verdict = judge(_with(clipped, 7, _record(3, "Stop that.", "You said:", cut=True)))
    assert verdict.clipped_goodbyes == 1
    assert "'you said stop that' was said, 'you said st' was heard" in verdict.faults[0]
    assert judge(replace(clipped, hung_up_by="caller")).clipped_goodbyes == 0
    silent = replace(seen, sounds=seen.sounds[:2], words=(seen.words or ())[:2])
    assert judge(silent).clipped_goodbyes == 1


def test_words_in_the_history_that_were_not_heard() -> None:
    verdict = judge(_with(_good(), 4, _record(2, "Tell me all.", ANSWER, cut=True)))
    # One may fall into the cut; the language model, too, was told something else than what is recorded.
    assert verdict.words_not_heard == 1
    assert "1 words in the history but not heard: all" in verdict.faults
    uncut = judge(_with(_good(), 4, _record(2, "Tell me all.", ANSWER)))
    assert uncut.words_not_heard == 2


def test_words_heard_that_are_not_in_the_history() -> None:
    verdict = judge(_with(_good(), 4, _record(2, "Tell me all.", "You", cut=True)))
    # One may fall into the cut, and the "m" on which it fell is no word.
    assert verdict.words_not_in_history == 1
    assert "1 words heard but not in the history: tell" in verdict.faults


def test_a_turn_without_a_record_is_not_in_the_history() -> None:
    assert judge(_with(_good(), 1, _ask(9))).words_not_in_history == 1


def test_words_that_the_language_model_is_not_told_again() -> None:
    verdict = judge(replace(_good(), remembered=[["Hello."], ["Hello."]]))
    assert (verdict.words_not_heard, verdict.words_not_in_history) == (0, 3)
    verdict = judge(replace(_good(), remembered=[["Hello."], ["Hello.", ANSWER]]))
    assert (verdict.words_not_heard, verdict.words_not_in_history) == (2, 0)


def test_requests_that_were_cancelled_or_sent_twice_confuse_nobody() -> None:
    good = _good()
    assert judge(replace(good, remembered=[["Hello.", "You said: tell"]])).passed
    assert judge(replace(good, remembered=[["Hello."], ["Hello."], ["Hello.", "You said: tell"]])).passed
    assert not judge(replace(good, remembered=[["Hello."], ["Hello."], ["Hello."]])).passed


def _coughed_at(sounds: list[Sound], cut: bool = False) -> Seen:
    seen = _good()
    seen = replace(seen, done=[seen.done[0], Done(COUGH, 5.0, 5.3)], sounds=sounds, hung_up_by="caller")
    heard = [*(seen.words or ())[:1], Words(ANSWER, 4.5, True)]
    log = [*seen.log[:4], _record(2, "Tell me all.", ANSWER, cut), END]
    return replace(seen, words=heard, log=log, remembered=[["Hello."]])


def test_a_noise_that_stops_the_agent() -> None:
    greeting = Sound(1, 0.5, 1.5)
    assert judge(_coughed_at([greeting, Sound(2, 4.5, 7.0)])).passed
    assert judge(_coughed_at([greeting, Sound(2, 4.5, 5.1), Sound(2, 6.2, 7.0)])).passed
    late = judge(_coughed_at([greeting, Sound(2, 4.5, 5.1), Sound(2, 6.5, 7.0)]))
    assert (late.false_stops, late.faults) == (1, ("noise cough stopped the agent until 1.2 s after it",))
    stopped = _coughed_at([greeting, Sound(2, 4.5, 5.1), Sound(3, 6.0, 7.0)], cut=True)
    assert judge(stopped).false_stops == 1
    assert "noise cough stopped the agent for good" in judge(stopped).faults


def test_an_interruption_after_a_noise_is_no_false_stop() -> None:
    seen = _coughed_at([Sound(1, 0.5, 1.5), Sound(2, 4.5, 6.0), Sound(3, 7.7, 9.5)], cut=True)
    verdict = judge(replace(seen, done=[*seen.done, Done(STOP, 5.7, 6.5)]))
    assert verdict.false_stops == 0


def test_an_agent_that_does_not_stop() -> None:
    seen = _good()
    late = replace(seen, sounds=[Sound(1, 0.5, 1.5), Sound(2, 4.5, 7.6), Sound(3, 7.7, 9.5)])
    assert "say Stop that. did not stop the agent within 2 s" in judge(late).faults
    whole = _with(seen, 4, _record(2, "Tell me all.", "You said: tell"))
    assert "say Stop that. did not stop the agent within 2 s" in judge(whole).faults


def test_an_agent_that_speaks_where_it_should_wait_or_waits_where_it_should_speak() -> None:
    seen = _good()
    quiet, prompt = Step("silence_s", seconds=1.0, expect="nothing"), Step("silence_s", seconds=1.0, expect="answer")
    assert judge(replace(seen, done=[Done(quiet, 3.0, 4.4), *seen.done[1:]])).faults == (
        "the agent spoke at silence_s 1.0",
    )
    assert judge(replace(seen, done=[Done(quiet, 3.0, 4.4), Done(prompt, 4.4, 5.0), *seen.done[1:]])).passed
    unprompted = judge(replace(seen, done=[Done(prompt, 3.0, 4.4), Done(quiet, 4.4, 4.5), *seen.done[1:]]))
    assert unprompted.faults[0] == "the agent said nothing in silence_s 1.0"


def test_words_that_were_expected() -> None:
    seen = _good()
    asked = replace(TELL, expect_words=("said: TELL",))
    bye = replace(BYE, expect_words=("goodbye",))
    assert judge(replace(seen, done=[replace(seen.done[0], step=asked), *seen.done[1:]])).passed
    verdict = judge(replace(seen, done=[*seen.done[:2], Done(bye, 8.0, 9.5)]))
    assert verdict.faults == ("'goodbye' was not in the answer to wait_for_hang_up: you said stop that",)


def test_a_call_that_ends_badly() -> None:
    seen = _good()
    assert judge(replace(seen, failure="the agent never greeted")).faults == ("the agent never greeted",)
    assert judge(replace(seen, hung_up_by="caller")).faults == ("the agent did not hang up",)
    assert judge(replace(seen, log=seen.log[:-1])).faults == ("the server's log has no end of the call",)
    failed = judge(_with(seen, 8, END | {"result": "failed", "reason": "synthesizer-failed"}))
    assert failed.faults == ("the call ended as failed, synthesizer-failed",)
    assert judge(replace(seen, warnings=["31951 not JSON"])).faults == ("Twilio would warn: 31951 not JSON",)


def test_a_voice_that_cannot_be_read_is_judged_by_its_sound_alone() -> None:
    verdict = judge(replace(_good(), words=None, remembered=None))
    assert (verdict.clipped_goodbyes, verdict.words_not_heard, verdict.words_not_in_history) == (None, None, None)
    assert (verdict.turns_answered, verdict.longest_dead_air_s, verdict.passed) == (2, 1.5, True)
    assert not judge(replace(_good(), words=None, sounds=[Sound(1, 0.5, 1.5)])).passed


def test_a_sentence_that_went_on_after_a_pause_is_joined_in_mid_word() -> None:
    seen = _good()
    heard = replace(seen, words=[Words("Hel", 0.5, False), Words("lo.", 1.0, False), Words("You", 1.2, True)])
    assert words(heard.heard(1) or "") == ["hello", "you"]


# The report


def test_the_report_sums_up_and_tells_what_was_wrong(tmp_path: Path) -> None:
    good = judge(_good())
    bad = replace(good, script="bad", words_not_heard=3, longest_dead_air_s=2.0, faults=("it was bad",))
    blind = replace(good, script="blind", words_not_heard=None, longest_dead_air_s=None)
    table = eval_report.table({"agents": "plain"}, [good, bad, blind], Path("evals/x"))
    lines = [line.split() for line in table.splitlines()]
    assert ["made_up", "plain", "2/2", "1.50", "s", "0", "0", "0", "0"] in lines
    assert ["blind", "plain", "2/2", "-", "0", "-", "0", "0"] in lines
    assert ["all", "6/6", "2.00", "s", "0", "3", "0", "0", "FAILED"] in lines
    assert "it was bad" in table and "evals/x/calls/CA1.jsonl" in table and "2 of 3 calls passed" in table
    eval_report.write(tmp_path / "new" / "report.json", {}, [good, bad], ["left: out"])
    told = orjson.loads((tmp_path / "new" / "report.json").read_bytes())
    assert told["passed"] is False and [call["passed"] for call in told["calls"]] == [True, False]
    assert told["total"]["words_not_heard"] == 3 and told["left_out"] == ["left: out"]


# Real calls


def test_the_stand_in_of_the_language_model_repeats_and_says_goodbye() -> None:
    assert echo([{"role": "user", "content": "Hi there"}]).text == "You said: Hi there"
    assert [call.name for call in echo([{"role": "user", "content": "Well, Goodbye!"}]).tool_calls] == ["hang_up"]


def test_two_callers_and_the_real_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    polite = _written(tmp_path, '[[steps]]\nsay = "Goodbye."\n[[steps]]\nwait_for_hang_up = true\n', "polite.toml")
    choosy = _written(
        tmp_path,
        '[[steps]]\nnoise = "cough"\nwhile_agent_speaks = true\nafter_ms = 300\n'
        '[[steps]]\nsay = "A song."\nexpect_words = ["a song", "a dance"]\n[[steps]]\nhang_up = true\n',
        "choosy.toml",
    )
    assert run([polite, choosy], None, tmp_path / "report.json") == 1
    told = orjson.loads((tmp_path / "report.json").read_bytes())
    first, second = told["calls"]
    assert first["passed"] and (first["turns_answered"], first["clipped_goodbyes"]) == (1, 0)
    assert second["faults"] == ["'a dance' was not in the answer to say A song.: you said a song"]
    assert (second["turns_answered"], second["false_stops"], second["words_not_heard"]) == (1, 0, 0)
    assert 0.3 < second["longest_dead_air_s"] < 3
    assert (tmp_path / "report" / "choosy.wav").stat().st_size > 100_000
    assert not (tmp_path / "report" / "polite.wav").exists()
    assert "1 of 2 calls passed." in capsys.readouterr().out


def test_a_server_that_refuses_the_agent_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent = _written(tmp_path, 'greeting = "Hello"\nvoice = "v"\nnonsense = 1\n', "mine.toml")
    assert run([SCRIPTS / "small_talk.toml"], agent, tmp_path / "report.json") == 2
    said = capsys.readouterr().err
    assert "mine.toml: nonsense is unknown" in said and "mine.toml: instructions is missing" in said
