"""What follows a call is done once, however many workers are told of its end."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gevent
import pytest

import server
from config.start import load
from tests.records.conftest import Clock
from tests.records.stories import AT, ended, started, turn
from tests.running import wait_until
from voice.after_call import AfterCall
from voice.core.transcript import AgentSaid, CallerSaid, Past
from voice.records.records import Records
from voice.sandbox.stand_ins import Sandbox

SID = "CA" + "1" * 32
_AGENT = """
greeting = "Hello."
instructions = "You answer the phone."
voice = "plainVoice"

[after_call]
summary = true
"""


class Workers:
    """Workers that share a database and a language model."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        (folder / "agents").mkdir()
        (folder / "agents" / "receptionist.toml").write_text(_AGENT)
        self.sandbox = sandbox
        self.clock = Clock()
        self.clock.now = AT + 200
        self._url = f"sqlite:///{folder}/voice.db"
        given = {"AGENTS_DIR": str(folder / "agents"), "DEFAULT_AGENT": "receptionist", "DATABASE_URL": self._url}
        self._settings, self._agents, self._prices = load(sandbox.environment() | given)
        self._services = server._services(self._settings, self._agents, self._prices)
        self.records: list[Records] = []

    def add(self) -> AfterCall:
        records = Records(self._url, clock=self.clock, timeout_s=10)
        records.start()
        self.records.append(records)
        services = self._services
        owner = f"worker-{len(self.records)}"
        return AfterCall(self._agents, records, services.language_model, services.default_model, services.prices, owner)

    def a_call_is_over(self) -> None:
        past = Past(1, (AgentSaid("Hello."), CallerSaid("On Monday please.")))
        self.records[0].call_started(started(SID))
        self.records[0].turn_finished(SID, turn(1), {"past": past.plain()})
        self.records[0].call_ended(SID, replace(ended(), usage={}))
        assert self.records[0].flush(5)

    def summary(self) -> str | None:
        call = self.records[0].call(SID)
        assert call is not None
        return call.summary if call.finished_at else None


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    with Sandbox() as sandbox:
        sandbox.xai.extract = lambda messages, schema: {"summary": f"Asked {len(sandbox.xai.requests)} times."}
        workers = Workers(sandbox, tmp_path)
        yield workers
        for records in workers.records:
            records.stop(5)


def test_of_several_workers_that_are_told_of_an_end_one_asks_for_the_summary(workers: Workers) -> None:
    told = [workers.add() for _ in range(4)]
    workers.a_call_is_over()
    for after_call in told * 2:
        after_call.soon(SID, 0.01)
    wait_until(lambda: workers.summary() is not None, 5, "it is finished")
    gevent.sleep(0.1)
    assert len(workers.sandbox.xai.requests) == 1 and workers.summary() == "Asked 1 times."


def test_the_last_that_is_told_of_an_end_counts(workers: Workers) -> None:
    after_call = workers.add()
    workers.a_call_is_over()
    after_call.soon(SID, 60)
    after_call.soon(SID, 0.01)
    wait_until(lambda: workers.summary() is not None, 5, "nobody waits for it to be carried on any more")


def test_what_a_worker_has_begun_and_not_finished_another_one_finishes(workers: Workers) -> None:
    after_call, other = workers.add(), workers.add()
    workers.a_call_is_over()
    assert workers.records[0].lease(f"finish {SID}", "a worker that has died", 120)
    other.soon(SID, 0)
    gevent.sleep(0.1)
    assert workers.summary() is None and workers.sandbox.xai.requests == []
    workers.clock.now += 120
    after_call.sweep()
    wait_until(lambda: workers.summary() is not None, 5, "it is finished")
