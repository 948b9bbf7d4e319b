"""The queue: trouble is told once and waited out, nothing that matters is thrown away first, and kill -9 takes nothing
that was written."""

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from sqlalchemy import Connection

from tests.records.postgresql import Server
from tests.records.stories import SID, ended, locked, started, turn, wait_until, written
from voice.errors import RecordsUnavailable
from voice.records import migrate
from voice.records.database import Database
from voice.records.records import Records
from voice.records.writer import Item, Writer

ROOT = Path(__file__).parents[2]


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What an operator is told, without the reasons."""
    told = [r for r in caplog.records if r.name == "voice.records" and r.levelno >= logging.WARNING]
    return [f"{r.levelname}: {r.getMessage().split(':')[0]}: {r.getMessage().split(':')[1].strip()}" for r in told]


# Trouble


ON_SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@ON_SQLITE
def test_a_locked_database_is_waited_out_and_told_once(url: str, caplog: pytest.LogCaptureFixture) -> None:
    records = Records(url, timeout_s=0.2)
    records.start()
    records.call_started(started())
    written(records)
    with locked(url):
        for number in range(1, 6):
            records.turn_finished(SID, turn(number), {"turn": number})
        with pytest.raises(RecordsUnavailable, match="5 wait to be written"):
            records.claim(SID, "worker-2")
        wait_until(lambda: records.is_in_trouble, "the alarm")
    written(records)
    call = records.call(SID)
    assert call is not None and [t.number for t in call.turns] == [1, 2, 3, 4, 5]
    assert alarms(caplog) == [
        "ERROR: records: cannot be written, 5 waiting",
        "WARNING: records: written again, 0 waiting, 0 lost so far",
    ]
    assert not records.is_in_trouble and records.lost == 0
    records.stop(5)


@pytest.mark.matrix(63)
def test_a_server_that_is_stopped_and_started_gets_everything_in_order(
    postgresql: Server, caplog: pytest.LogCaptureFixture
) -> None:
    records = Records(postgresql.new_database())
    records.start()
    records.call_started(started())
    records.turn_finished(SID, turn(1), {"turn": 1})
    written(records)
    postgresql.stop()
    try:
        for number in range(2, 30):
            records.turn_finished(SID, turn(number), {"turn": number})
        wait_until(lambda: records.is_in_trouble, "the alarm")
        assert records.backlog == 28
    finally:
        postgresql.start()
    written(records)
    call = records.call(SID)
    assert call is not None and [t.number for t in call.turns] == list(range(1, 30))
    assert call.checkpoint == {"turn": 29}
    assert [alarm.split(":")[0] for alarm in alarms(caplog)] == ["ERROR", "WARNING"]
    records.stop(5)


@pytest.mark.matrix(62)
def test_a_database_that_is_not_there_at_the_start_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = Records(f"sqlite:///{tmp_path}/later/voice.db")
    records.start()
    records.call_started(started())
    wait_until(lambda: records.is_in_trouble, "the alarm")
    # For two tries more.
    gevent.sleep(0.35)
    (tmp_path / "later").mkdir()
    written(records)
    assert records.call(SID) is not None
    assert [alarm.split(",")[0] for alarm in alarms(caplog)] == [
        "ERROR: records: cannot be written",
        "WARNING: records: written again",
    ]
    records.stop(5)


_FULL = """
from gevent import monkey
monkey.patch_all()
import gevent, json, logging, resource, sys, time
from tests.records.stories import SID, started, turn
from voice.records.records import Records

logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s")
records = Records(sys.argv[1])
records.start()
records.call_started(started())
assert records.flush(10)
# From here on the files cannot grow: what a full disk does to a program, short of its own error number.
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, most))
for number in range(200):
    records.turn_finished(SID, turn(number, "x" * 5000), {"turn": number})
deadline = time.monotonic() + 10
while not records.is_in_trouble and time.monotonic() < deadline:
    gevent.sleep(0.01)
waiting = records.backlog
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
assert records.flush(10)
call = records.call(SID)
print(json.dumps({"waiting": waiting, "turns": [t.number for t in call.turns], "checkpoint": call.checkpoint}))
records.stop(5)
"""


def run(script: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.matrix(65)
def test_while_the_disk_is_full_records_wait(tmp_path: Path) -> None:
    process = run(_FULL, f"sqlite:///{tmp_path}/voice.db")
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    found = re.fullmatch(r'\{"waiting": (\d+), "turns": (\[.*\]), "checkpoint": \{"turn": 199\}\}\n', out)
    assert found and found[2] == str(list(range(200)))
    assert int(found[1]) > 0
    assert [line.split(",")[0] for line in err.splitlines()] == [
        "ERROR records: cannot be written",
        "WARNING records: written again",
    ]


_WRITING = """
from gevent import monkey
monkey.patch_all()
import sys
from tests.records.stories import SID, started, turn
from voice.records.records import Records

records = Records(sys.argv[1])
records.start()
records.call_started(started())
for number in range(1_000_000):
    records.turn_finished(SID, turn(number), {"turn": number})
    if number % 7 == 0:
        assert records.flush(10)
        print(number, flush=True)
"""


def test_kill_9_takes_nothing_that_was_written(url: str) -> None:
    process = run(_WRITING, url)
    assert process.stdout
    last = 0
    for line in process.stdout:
        last = int(line)
        if last >= 35:
            process.send_signal(signal.SIGKILL)
            break
    rest = process.communicate()[0].splitlines()
    last = int(rest[-1]) if rest else last
    records = Records(url)
    call = records.call(SID)
    assert call is not None
    numbers = [t.number for t in call.turns]
    assert numbers == list(range(len(numbers))) and len(numbers) > last
    # The turn and what the call goes on from are one.
    assert call.checkpoint == {"turn": numbers[-1]}
    records.stop(5)


@ON_SQLITE
def test_stopping_writes_what_waits_and_tells_what_it_cannot(url: str, caplog: pytest.LogCaptureFixture) -> None:
    records = Records(url)
    records.start()
    records.call_started(started())
    records.stop(10)
    again = Records(url)
    again.start()
    assert again.call(SID) is not None
    with locked(url):
        again.call_ended(SID, ended())
        again.stop(0.1)
    assert alarms(caplog) == [f"ERROR: records: stopped with 1 not written, of {SID}"]


# Too much


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/voice.db", prepare=migrate.apply)
    yield database
    database.close(5)


class Written:
    """Items that tell when they are written."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def item(self, name: str, is_kept: bool = True, size: int = 1) -> Item:
        def write(connection: Connection) -> None:
            if name.startswith("impossible"):
                connection.exec_driver_sql("INSERT INTO calls (call_sid) VALUES (NULL)")
            self.names.append(name)

        return Item(SID, name, write, size, is_kept)


def test_what_matters_less_is_thrown_away_first_the_oldest_before_the_younger(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    seen, writer = Written(), Writer(database, most_items=4)
    for name, is_kept in (("turn 1", True), ("event 1", False), ("turn 2", True), ("event 2", False)):
        writer.put(seen.item(name, is_kept))
    writer.put(seen.item("turn 3"))
    assert (writer.backlog, writer.dropped) == (4, 1)
    writer.put(seen.item("event 3", is_kept=False))
    writer.put(seen.item("turn 4"))
    writer.put(seen.item("turn 5"))
    assert (writer.backlog, writer.dropped) == (4, 4)
    writer.start()
    assert writer.flush(10)
    assert seen.names == ["turn 2", "turn 3", "turn 4", "turn 5"]
    assert alarms(caplog) == ["ERROR: records: no room for more, the oldest are thrown away"]
    writer.stop(5)


def test_the_room_is_counted_in_bytes_too(database: Database) -> None:
    seen, writer = Written(), Writer(database, most_bytes=100)
    for number in range(5):
        writer.put(seen.item(f"turn {number}", size=40))
    writer.start()
    assert writer.flush(10)
    assert (seen.names, writer.dropped) == (["turn 3", "turn 4"], 3)
    writer.stop(5)


def test_what_is_being_written_is_not_thrown_away(database: Database, tmp_path: Path) -> None:
    seen, writer = Written(), Writer(database, most_items=3)
    writer.start()
    writer.put(seen.item("first"))
    assert writer.flush(10)
    with locked(f"sqlite:///{tmp_path}/voice.db"):
        writer.put(seen.item("in hand", is_kept=False))
        gevent.sleep(0.01)
        writer.put(seen.item("turn 1"))
        writer.put(seen.item("event 1", is_kept=False))
        writer.put(seen.item("turn 2"))
    assert writer.flush(10)
    assert (seen.names, writer.dropped) == (["first", "in hand", "turn 1", "turn 2"], 1)
    writer.stop(5)


def test_what_cannot_be_written_is_skipped_and_nothing_else_is(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    seen, writer = Written(), Writer(database)
    for name in ("one", "impossible two", "three", "impossible four", "five"):
        writer.put(seen.item(name))
    writer.start()
    assert writer.flush(10)
    # Those of the batch that failed as a whole were taken back and written again.
    assert seen.names[-3:] == ["one", "three", "five"]
    assert (writer.skipped, writer.dropped, writer.trouble) == (2, 0, "")
    assert [m.split(",")[0] for m in caplog.messages if "skipped" in m] == [
        f"{SID}: impossible two cannot be written",
        f"{SID}: impossible four cannot be written",
    ]
    writer.stop(5)


def test_flushing_waits_for_what_came_before_only(database: Database) -> None:
    seen, writer = Written(), Writer(database)
    writer.put(seen.item("one"))
    assert not writer.flush(0.01)
    writer.start()
    assert writer.flush(10) and seen.names == ["one"]
    writer.stop(5)
