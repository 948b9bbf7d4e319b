"""What a worker tells the others of its live calls, and how often."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from config.agents import load_agents
from tests.console.conftest import AGENTS
from tests.records.conftest import Clock
from tests.records.stories import AT
from voice import registry
from voice.core.conversation import Conversation, Rules
from voice.core.transcript import CallerSaid
from voice.heartbeat import Heartbeat
from voice.presence import BEAT_S, IDLE_S, RENEWED_S, Presence
from voice.records.records import Records

SID = "CA" + "1" * 32


class Worker:
    """`one`, with a clock that is told."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records, self._clock = records, clock
        self.heartbeat = Heartbeat(records, "one")
        self._presence = Presence(records, "one", 10, lambda: self.heartbeat.is_watched)

    def beats(self, seconds: float) -> int:
        """How often its row was written within that time, beginning now."""
        written = []
        for _ in range(int(seconds / BEAT_S)):
            self._presence.beat(self._clock.now)
            written += [at for owner, at, _ in self._records.presences() if owner == "one" and at == self._clock.now]
            self._clock.now += BEAT_S
        return len(written)

    def told(self) -> list[str]:
        """What the callers have said last, by its row."""
        (text,) = [text for owner, _, text in self._records.presences() if owner == "one"]
        return [call["said"]["caller"] for call in orjson.loads(text)["calls"]]


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.now = AT
    return clock


@pytest.fixture
def records(tmp_path: Path, clock: Clock) -> Iterator[Records]:
    records = Records(f"sqlite:///{tmp_path}/voice.db", clock=clock, timeout_s=10)
    records.start()
    yield records
    records.stop(5)
    registry.client_connections.clear()
    registry.active_sessions.clear()
    registry.stream_to_call_sid.clear()


@pytest.fixture
def worker(records: Records, clock: Clock) -> Worker:
    return Worker(records, clock)


def call() -> Conversation:
    """A live call of this worker."""
    conversation = Conversation(Rules(greeting="", apology=""))
    (agent,) = load_agents(AGENTS, {"DEFAULT_AGENT": "desk"}).values()
    registry.start(registry.CallSession(SID, "MZ1", agent, "+1", "+2", registry.connect(), conversation))
    return conversation


def test_while_nobody_watches_only_who_calls_is_told(worker: Worker) -> None:
    assert worker.beats(IDLE_S) == 1
    conversation = call()
    worker.heartbeat.look()
    assert worker.beats(BEAT_S) == 1 and worker.told() == [""]
    conversation.transcript.entries.append(CallerSaid("Hello"))
    assert worker.beats(IDLE_S - BEAT_S) == 0
    assert worker.beats(BEAT_S) == 1
    registry.active_sessions.clear()
    assert worker.beats(IDLE_S) == 1 and worker.told() == []


def test_what_is_watched_is_told_at_once(worker: Worker, records: Records, clock: Clock) -> None:
    conversation = call()
    worker.beats(BEAT_S)
    conversation.transcript.entries.append(CallerSaid("Hello"))
    records.watch("two", 10)
    assert worker.beats(BEAT_S) == 0, "it does not know yet"
    worker.heartbeat.look()
    assert worker.beats(BEAT_S) == 1 and worker.told() == ["Hello"]
    assert worker.beats(4 * RENEWED_S) == 4, "and said again, by one who lives"
    clock.now += 2
    worker.heartbeat.look()
    assert worker.beats(4 * RENEWED_S) == 0, "the others have closed their pages"
