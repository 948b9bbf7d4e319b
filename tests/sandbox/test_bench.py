"""The load test: its figures from observations made up by hand, and one small run that has to be sound."""

import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import orjson
import pytest
from gevent import subprocess

from voice.sandbox import bench_integrity, bench_machine, bench_ramp, bench_report, bench_target
from voice.sandbox.bench import run
from voice.sandbox.bench_caller import Answered, Crowd
from voice.sandbox.bench_figures import (
    HOPS,
    Figures,
    Load,
    Memory,
    Spread,
    barge_ins,
    figures,
    hops,
    lateness,
    medians,
    spread,
)
from voice.sandbox.bench_integrity import AudioFaults, audio_faults
from voice.sandbox.bench_machine import Moment
from voice.sandbox.bench_observed import Final, Observed, PhoneSide, Request, Speech
from voice.sandbox.bench_plan import Plan
from voice.sandbox.bench_script import (
    GREETING,
    Part,
    agent_file,
    answer,
    first_sentence_tokens,
    parts,
    question,
    sentences,
)
from voice.sandbox.serving import ROOT, ServerProcess

# The caller speaks 1 s after the beginning and again, into the answer, 4 s after it. A frame goes out every 20 ms.
SENT_AT = [100 + n * 0.02 for n in range(600)]
SENT = bytes(n % 251 for n in range(600 * 160))
ANSWERS = [" ".join(sentences(7, turn)) for turn in (1, 2)]
CUT = "Caller 0007 asked que"
TOKENS = first_sentence_tokens(ANSWERS[0])


def _events(sentence_at: float) -> list[float]:
    """When the answer's events went out: the one that completes the first sentence at `sentence_at`."""
    return [sentence_at + (n - TOKENS) * 0.015 for n in range(30)]


def _call() -> Observed:
    return Observed(
        part=Part(7, (True, False), 0.0),
        completed=2,
        failure="",
        phone=PhoneSide(
            sent=SENT,
            sent_at=SENT_AT,
            # Just before frames 50 and 99, 200 and 249.
            spoke_at=[(100.9999, 101.9799), (103.9999, 104.9799)],
            media_at=[100.1, 103.204, 103.5, 106.809],
            clears_at=[104.023],
            heard=[GREETING, CUT, *sentences(7, 2)],
            complaints=[],
            late_ms=3.0,
        ),
        sessions=1,
        received=SENT[:-160],
        # The 30th frame of silence goes out at 102.58, and at 105.58.
        speech_started_at=[101.05, 104.021],
        finals=[Final(question(7, 1), 102.581, 102.7), Final(question(7, 2), 105.590, 105.7)],
        requests=[
            Request(102.702, _events(102.9), [question(7, 1)], [GREETING]),
            Request(105.720, _events(105.9), [question(7, 1), question(7, 2)], [GREETING, CUT]),
        ],
        sockets=1,
        speeches=[
            Speech(GREETING + " ", 100.0, 100.05),
            Speech(ANSWERS[0] + " ", 102.903, 103.2),
            Speech(ANSWERS[1] + " ", 105.930, 106.8),
        ],
    )


# Latency


def test_the_hops_of_each_turn_are_what_the_stand_ins_did_not_take() -> None:
    first, second = hops(_call(), 100, 110)
    assert first == pytest.approx((1, 2, 3, 4), abs=1e-6)
    assert second == pytest.approx((10, 20, 30, 9), abs=1e-6)


def test_only_turns_within_the_window_count() -> None:
    assert len(hops(_call(), 103.3, 110)) == 1
    assert hops(_call(), 100, 103) == []


def test_a_turn_that_was_not_answered_has_no_hops() -> None:
    call = _call()
    assert len(hops(replace(call, speeches=call.speeches[:2]), 100, 110)) == 1
    assert len(hops(replace(call, requests=call.requests[:1]), 100, 110)) == 1
    assert hops(replace(call, finals=[]), 100, 110) == []
    silent = replace(call, speeches=[replace(speech, audio_at=None) for speech in call.speeches])
    assert hops(silent, 100, 110) == []


def test_a_barge_in_counts_from_the_second_frame_of_speech() -> None:
    call = _call()
    assert barge_ins(call, 100, 110) == pytest.approx([3], abs=1e-6)
    assert barge_ins(call, 105, 110) == []
    assert barge_ins(replace(call, phone=replace(call.phone, clears_at=[103.0])), 100, 110) == []


def test_a_barge_in_that_the_transcriber_hears_counts_from_its_word() -> None:
    call = _call()
    assert barge_ins(call, 100, 110, vendor_hears=True) == pytest.approx([2], abs=1e-6)
    assert barge_ins(replace(call, speech_started_at=[101.05]), 100, 110, vendor_hears=True) == []


def test_percentiles_are_values_that_occurred() -> None:
    assert spread(range(1, 101)) == Spread(100, 50, 95, 99, 100)
    assert spread([3, 1, 2]) == Spread(3, 2, 3, 3, 3)
    assert spread([]) is None


def test_lateness_is_counted_from_an_absolute_beat() -> None:
    late = [100.0, 100.021, 100.040, 100.075, 100.080]
    assert lateness(late, 100, 101) == pytest.approx([0, 1, 0, 15, 0], abs=1e-6)
    assert lateness(late, 100.03, 100.079) == pytest.approx([0, 15], abs=1e-6)


# Integrity


def test_a_good_call_has_no_fault() -> None:
    assert bench_integrity.faults(_call()) == []


def _heard(*said: str) -> Observed:
    call = _call()
    return replace(call, phone=replace(call.phone, heard=said))


def _told(said: list[str], spoken: list[str]) -> Observed:
    call = _call()
    return replace(call, requests=[call.requests[0], replace(call.requests[1], caller_said=said, agent_said=spoken)])


QUESTIONS = [question(7, 1), question(7, 2)]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (_heard(GREETING, CUT, sentences(8, 2)[0], sentences(7, 2)[1]), "Caller 0008"),
        (_heard(GREETING, CUT, sentences(7, 2)[0]), "in turn 2"),
        (_heard(GREETING, *sentences(7, 2)), "in turn 1"),
        (_heard(CUT, *sentences(7, 2)), "not the greeting"),
        (_heard(GREETING, CUT, *sentences(7, 2), "Goodbye."), "besides"),
        (_told([question(7, 1), question(8, 2)], [GREETING, CUT]), "Caller 0008"),
        (_told(QUESTIONS, [GREETING, sentences(8, 1)[0]]), "Caller 0008"),
        (_told(QUESTIONS, [GREETING]), "that the agent said"),
        (replace(_call(), requests=[]), "0 requests"),
        (replace(_call(), finals=_call().finals[1:]), "the transcriber heard"),
        (replace(_call(), speeches=[*_call().speeches, Speech(ANSWERS[1], 1, 1)]), "the synthesizer was given"),
        (replace(_call(), sessions=2), "2 transcription sessions"),
        (replace(_call(), sockets=0), "0 synthesizer sockets"),
        (replace(_call(), phone=replace(_call().phone, clears_at=[])), "0 clear for 1"),
        (replace(_call(), phone=replace(_call().phone, complaints=["31951 x"])), "31951 x"),
        (replace(_call(), received=SENT[160:]), "moved"),
    ],
)
def test_whatever_crosses_or_is_lost_is_a_fault(call: Observed, said: str) -> None:
    found = bench_integrity.faults(call)
    assert all(fault.startswith("caller 7: ") for fault in found)
    assert any(said in fault for fault in found), found


def test_bytes_that_were_lost_added_or_moved() -> None:
    sent = bytes(range(250)) * 40
    assert audio_faults(sent, sent) == audio_faults(sent, sent[:-4000]) == AudioFaults(0, 0, 0)
    assert audio_faults(sent, sent[:-4001]) == AudioFaults(4001, 0, 0)
    assert audio_faults(sent, sent + b"x") == AudioFaults(0, 1, 0)
    assert audio_faults(sent, sent[:500] + b"\xff\xff" + sent[502:]) == AudioFaults(0, 0, 2)
    assert audio_faults(sent, sent[:500] + sent[660:]).moved > 1000, "one frame lost in the middle"
    assert AudioFaults(0, 0, 1).any and not AudioFaults(0, 0, 0).any


# All together


LOAD = Load(Moment(100, 5.0, 7.0, 20.0, 1.0), Moment(110, 8.0, 9.0, 29.0, 1.5), Memory(40, 50, 45))


def _figures(*calls: Observed) -> Figures:
    return figures(calls, LOAD)


def test_figures_of_two_calls() -> None:
    found = _figures(_call(), _call())
    assert found.sound
    assert (found.calls, found.turns_expected, found.turns_completed, found.turns_interrupted) == (2, 4, 4, 2)
    assert (found.audio_bytes, found.audio_lost) == (2 * 96000, 0)
    # 3 s of processor time in 10 s for two calls, which is a third of a call-minute.
    assert found.server_cpu_s_per_call_minute == pytest.approx(9)
    assert [found.server_core_share, found.driver_core_share] == pytest.approx([0.3, 0.2])
    assert [found.others_core_share, found.stolen_core_share] == pytest.approx([0.4, 0.05])
    assert found.memory_mb_per_call == 5
    added = found.latency["sum"]
    assert added and added.count == 4 and [added.p50, added.max] == pytest.approx([10, 69])
    assert [hop and hop.max for hop in map(found.latency.get, HOPS)] == pytest.approx([10, 20, 30, 9])
    assert found.driver_late and found.driver_late.count == 2 * 501 and found.driver_late.max < 1e-6


def test_latency_never_makes_a_run_unsound_but_a_lost_turn_does() -> None:
    call = _call()
    slow = replace(call, finals=[call.finals[0], replace(call.finals[1], committed_at=115)])
    assert _figures(slow).sound
    assert not _figures(replace(call, completed=1)).sound
    assert not _figures(replace(call, failure="it broke")).sound
    assert not _figures(replace(call, sockets=2)).sound


def test_the_report_tells_figures_and_what_went_wrong(tmp_path: Path) -> None:
    found = _figures(_call(), replace(_call(), failure="not heard\n  and the rest", completed=1, sockets=2))
    shown = bench_report.table({"run": "two calls"}, found)
    assert "two calls" in shown and "3 of 4 completed" in shown and "caller 7: not heard\n" in shown
    assert "and the rest" not in shown and "2 synthesizer sockets" in shown
    path = tmp_path / "new" / "bench.json"
    bench_report.write(path, {"run": "two calls"}, found)
    written = orjson.loads(path.read_bytes())
    assert written["run"] == {"run": "two calls"} and written["sound"] is False
    assert written["latency"]["sum"]["count"] == 4 and "and the rest" in written["failures"][0]


def test_the_report_of_a_run_in_which_nothing_worked() -> None:
    broken = replace(_call(), completed=0, finals=[], requests=[], speeches=[], received=b"")
    assert "0 of 2 completed" in bench_report.table({}, _figures(broken))


# The play


def test_three_in_ten_turns_are_interrupted_and_never_the_last() -> None:
    cast = parts(50, 4, seed=1, spread_s=8)
    assert sum(sum(part.interrupts) for part in cast) == 60
    assert not any(part.interrupts[-1] for part in cast)
    assert all(0 <= part.waits_s <= 8 for part in cast)
    assert cast == parts(50, 4, seed=1, spread_s=8) != parts(50, 4, seed=2, spread_s=8)
    assert parts(1, 1, seed=1, spread_s=0) == [Part(1, (False,), 0.0)]


def test_the_model_answers_the_latest_question() -> None:
    asked = [{"role": "user", "content": question(3, 1)}, {"role": "user", "content": question(3, 2)}]
    assert answer(asked).text == " ".join(sentences(3, 2))
    assert first_sentence_tokens("One two. Three four.") == 2
    assert first_sentence_tokens("One two") == 2


def test_a_caller_who_fails_keeps_nobody_waiting() -> None:
    crowd = Crowd(3)
    crowd.arrive()
    crowd.leave()
    crowd.arrive()
    assert crowd.all_here.is_set() and not crowd.first_left.is_set()
    crowd.leave()
    assert crowd.first_left.is_set()
    nobody = Crowd(2)
    nobody.leave()
    nobody.leave()
    assert nobody.all_here.is_set() and nobody.first_left.is_set()


def test_medians_are_of_each_figure_by_itself_and_forget_no_fault() -> None:
    runs = [_figures(_call()), _figures(replace(_call(), completed=1)), _figures(replace(_call(), sockets=2))]
    runs = [replace(run, driver_core_share=share) for run, share in zip(runs, (0.1, 0.9, 0.2), strict=True)]
    found = medians(runs)
    assert found.driver_core_share == 0.2 and found.latency == runs[0].latency and found.memory == runs[0].memory
    assert found.turns_completed == 1 and len(found.faults) == len(runs[2].faults) > 0 and not found.sound


def test_a_server_elsewhere_has_no_machine() -> None:
    first, last = (replace(moment, server_cpu_s=None) for moment in (LOAD.first, LOAD.last))
    nothing = Load(first, last, Memory(None, None, None))
    found = figures([_call()], nothing)
    assert found.server_cpu_s_per_call_minute is None and found.memory_mb_per_call is None and found.sound
    shown = bench_report.table({}, found)
    assert "runs elsewhere" in shown and "PSS" not in shown


def test_a_peer_is_held_to_what_callers_hear() -> None:
    call = replace(_call(), requests=[], sockets=0)
    assert bench_integrity.faults(call) and not bench_integrity.faults(call, peer=True)
    assert bench_integrity.faults(_heard(GREETING), peer=True)
    assert audio_faults(b"\x7f" * 320, b"\xff" * 320).moved == 320
    assert not audio_faults(b"\x7f" * 320, b"\xff" * 320, as_samples=True).any
    sent, received = b"x" * 5000, b"x" * 999
    assert not audio_faults(sent, received, as_samples=True).any and audio_faults(sent, received).any


def test_how_calls_began() -> None:
    began = [Answered(5.0, 40.0), Answered(7.0, None), Answered(None, None)]
    found = figures([_call()], replace(LOAD, answered=began, hub_busy_ms=12.0))
    assert found.webhook == Spread(2, 5, 7, 7, 7) and found.greeting == Spread(1, 40, 40, 40, 40)
    assert "12.0 ms at most" in bench_report.table({}, found)


# The ramp


def _step(calls: int, added: float, clear: float = 5, late: float = 1, failures: Sequence[str] = ()) -> Figures:
    return replace(
        _figures(_call()),
        calls=calls,
        latency={"sum": Spread(9, 1, added, added, added)},
        barge_in=Spread(9, 1, clear, clear, clear),
        driver_late=Spread(9, 0, 0, late, late),
        failures=list(failures),
    )


def test_the_ramp_ends_with_the_first_number_that_does_not_hold() -> None:
    assert bench_ramp.broken(_step(10, 50, 20, 20)) == ""
    assert "adds 51 ms" in bench_ramp.broken(_step(10, 51))
    assert "21 ms" in bench_ramp.broken(_step(10, 9, clear=21))
    assert "driver" in bench_ramp.broken(_step(10, 9, late=21))
    assert "lost" in bench_ramp.broken(_step(10, 9, failures=["gone"]))
    assert bench_ramp.calls_per_core([_step(10, 9), _step(20, 40), _step(30, 90), _step(40, 40)]) == 20
    assert bench_ramp.calls_per_core([_step(10, 90)]) == bench_ramp.calls_per_core([]) == 0


def test_the_numbers_of_a_ramp_rise_to_the_most() -> None:
    assert list(bench_ramp.numbers(10, 40)) == [10, 15, 20, 30, 40]
    assert list(bench_ramp.numbers(150, 300)) == [150, 175, 200, 250, 300]
    assert list(bench_ramp.numbers(220, 300)) == [220, 250, 300]
    assert list(bench_ramp.numbers(7, 7)) == [7]


def test_the_ramp_is_told_as_one_table(tmp_path: Path) -> None:
    steps = [_step(10, 9), _step(20, 90)]
    shown = bench_report.ramp({"run": "x", "machine": "this"}, steps)
    assert "nothing lost: 10" in shown and "the server adds 90 ms" in shown and "this" in shown
    assert "at least" not in shown and "10 at least" in bench_report.ramp({}, steps[:1])
    bench_report.write_ramp(tmp_path / "ramp.json", {}, steps)
    written = orjson.loads((tmp_path / "ramp.json").read_bytes())
    assert written["calls_per_core"] == 10 and [one["calls"] for one in written["steps"]] == [10, 20]


# The machine


def test_processor_time_and_memory_of_a_process_tree() -> None:
    # A shell, and below it one that works.
    work = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done; read x"
    with subprocess.Popen(
        ["sh", "-c", f"sh -c '{work}'; true"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as shell:
        assert shell.stdout and shell.stdin
        shell.stdout.readline()
        (child,) = bench_machine.workers(shell.pid)
        found = bench_machine.moment(shell.pid)
        assert 0.05 < found.server_cpu_s < 20
        assert 0.01 < bench_machine.pss_mb(child) < 50
        shell.stdin.write(b"\n")
    assert found.machine_cpu_s > found.driver_cpu_s > 0 and found.stolen_s >= 0


# The whole of it


def test_five_calls_at_once_are_sound(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    allowed = os.sched_getaffinity(0)
    path = tmp_path / "bench.json"
    code = run(Plan(calls=5, turns=2, fast=True, spread_s=1), path)
    told = capfd.readouterr().out
    assert code == 0, told
    found = orjson.loads(path.read_bytes())
    assert found["sound"] and found["turns_completed"] == 10 and found["turns_interrupted"] == 3, told
    assert (found["audio_lost"], found["audio_added"], found["audio_moved"]) == (0, 0, 0)
    assert found["latency"]["sum"]["count"] >= 5, told
    assert found["barge_in"]["count"] >= 1, told
    assert found["webhook"]["count"] == found["greeting"]["count"] == 5 and found["hub_busy_ms"] > 0, told
    assert os.sched_getaffinity(0) == allowed
    assert "silence_ms = 600" in agent_file(False), "the figures count 30 frames of silence"


def test_each_step_of_a_frame_has_its_cost() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.bench.micro", "200"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    costs = [float(line.split(" us  ")[0]) for line in done.stdout.splitlines()]
    assert len(costs) == 11 and min(costs) > 0, done.stdout


def _elsewhere(plan: Plan, folder: Path, capfd: pytest.CaptureFixture[str], **own: str) -> tuple[int, Any]:
    """What the command prints is what a server is started with, as an operator would; `own` is the operator's."""
    ours, path = _free_port(), folder / "bench.json"
    target = bench_target.Target(
        f"http://127.0.0.1:{ours}", ("127.0.0.1", _free_port()), "AC" + "0" * 32, "a-token-of-its-own", patience_s=60
    )
    running = gevent.spawn(bench_target.run, plan, target, path)
    told = ""
    with gevent.Timeout(10):
        while "Waiting for it" not in told:
            told += capfd.readouterr().out
            gevent.sleep(0.01)
    printed = dict(line.split("=", 1) for line in told.splitlines() if line[:1].isupper() and "=" in line)
    assert "TWILIO_AUTH_TOKEN" not in printed and printed["DEFAULT_AGENT"] == "bench"
    own |= {
        "TWILIO_AUTH_TOKEN": target.auth_token,
        "DATABASE_URL": f"sqlite:///{folder / 'voice.db'}",
        "CALL_LOG_DIR": str(folder / "calls"),
        "CLIPS_DIR": str(folder / "clips"),
    }
    with (folder / "log").open("wb") as log, ServerProcess(printed | own, log, port=ours):
        code = running.get(timeout=60)
    return code, orjson.loads(path.read_bytes())


def test_a_server_elsewhere_is_called_with_our_stand_ins(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, found = _elsewhere(Plan(calls=2, turns=1, fast=True, spread_s=0), tmp_path, capfd)
    assert code == 0, capfd.readouterr().out
    assert found["sound"] and found["turns_completed"] == 2 and found["server_core_share"] is None


@pytest.mark.parametrize("counted", [True, False])
def test_calls_that_are_refused_are_failures_unless_more_are_offered_on_purpose(
    counted: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(calls=3, turns=1, fast=True, spread_s=0, refusals=counted)
    code, found = _elsewhere(plan, tmp_path, capfd, MAX_CALLS="2")
    told = capfd.readouterr().out
    assert code == (0 if counted else 1), told
    assert (found["calls"], found["calls_refused"], found["sound"]) == ((2, 1, True) if counted else (3, 0, False))
    assert found["turns_completed"] == 2 and ("1 more refused" in told) == counted, told


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
