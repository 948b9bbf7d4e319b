"""`tail`, beside a server of two workers: every call of both, each until it is over."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands.conftest import Run
from tests.console.past import sid
from tests.running import Running, wait_until
from voice.records.records import Records
from voice.sandbox.serving import ROOT


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("tail"), workers=2) as running:
        running.forget()
        yield running


class Tailed:
    """The command, as a process of its own."""

    def __init__(self, running: Running, *arguments: str) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "voice", "tail", *arguments]
        environment = os.environ | running.environment
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        self.lines += iter(self.process.stdout.readline, "")

    def told(self, call_sid: str) -> list[dict[str, Any]]:
        return [told for told in map(json.loads, self.lines) if told["call_sid"] == call_sid]

    def wait(self) -> tuple[int, str]:
        """Exit code, and what it complained of."""
        code = self.process.wait(10)
        assert self.process.stderr
        self._reader.join()
        return code, self.process.stderr.read()


def test_every_call_is_told_as_it_happens_and_a_named_one_until_it_is_over(workers: Running, run: Run) -> None:
    everything = Tailed(workers, "--json")
    try:
        # Of a call that was live before it looked it does not tell what had happened: the greeting may be over.
        wait_until(lambda: _are_watched(workers), 30, "it looks, and the workers write what is new at once")
        first = workers.phone(from_number="+15550004711")
        first.dial()
        first.wait_until_heard("how can I help you?")
        wait_until(lambda: bool(everything.told(first.call_sid)), 10, "the call is told")
        alone = Tailed(workers, first.call_sid)
        second = workers.phone()
        second.dial()
        first.wait_until_silent()
        first.say("Where are you")
        first.wait_until_heard("You said: Where are you")
        first.wait_until_silent()
        first.hang_up()
        second.hang_up()
        for phone in (first, second):
            wait_until(lambda phone=phone: _is_over(everything, phone.call_sid), 10, "its end is told")  # type: ignore[misc]
        assert alone.wait() == (0, "")
    finally:
        everything.process.send_signal(signal.SIGINT)
    assert everything.wait() == (130, ""), "Ctrl-C is no fault and needs no words"
    told = everything.told(first.call_sid)
    assert [each["event"] for each in told if each["event"] in ("live", "began", "turn", "over")] == [
        told[0]["event"],
        "turn",
        "turn",
        "over",
    ]
    assert (told[0]["caller"], told[0]["agent"]) == ("+15550004711", "plain")
    turn = [each for each in told if each["event"] == "turn"][1]
    assert (turn["caller"], turn["agent"]) == ("Where are you", "You said: Where are you")
    assert (told[-1]["result"], told[-1]["reason"]) == ("completed", "caller-hung-up")
    text = "".join(alone.lines)
    assert 'turn            2: caller "Where are you", agent "You said: Where are you" (after ' in text
    assert second.call_sid not in text and "over            completed: caller-hung-up" in alone.lines[-1]

    # A call that is over is told from its beginning.
    late = run("tail", first.call_sid, DATABASE_URL=workers.environment["DATABASE_URL"])
    assert late.exit_code == 0 and late.output.count("turn  ") == 2 and "over  " in late.output


def _are_watched(workers: Running) -> bool:
    records = Records(workers.environment["DATABASE_URL"], timeout_s=10)
    try:
        return records.glance([])[1]
    finally:
        records.stop(1)


def _is_over(tailed: Tailed, call_sid: str) -> bool:
    return any(told["event"] == "over" for told in tailed.told(call_sid))


def test_a_call_that_nobody_knows(workers: Running, run: Run, tmp_path: Path) -> None:
    done = run("tail", sid(1), DATABASE_URL=workers.environment["DATABASE_URL"])
    assert done.exit_code == 1 and "there is no record of it" in done.output
    assert run("tail", "CA1").exit_code == 2
    assert run("tail").exit_code == 1 and not list(tmp_path.iterdir())


def test_a_command_takes_its_settings_from_the_server_that_runs(workers: Running, tmp_path: Path) -> None:
    def listed(pid: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "ignore", "-m", "voice", "--like", str(pid), "calls", "--json"]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30)

    done = listed(workers.server.pid)
    assert done.returncode == 0 and "calls" in json.loads(done.stdout), done.stderr
    assert "cannot be read: No such file" in listed(2**22 + 1).stderr
