"""The native thread: it blocks alone, gives up in time, comes back, and keeps its file to itself."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from sqlalchemy import Connection

from tests.records.postgresql import Server
from tests.records.stories import SID, locked, wait_until
from voice.errors import RecordsUnavailable
from voice.records import migrate
from voice.records.database import Database
from voice.records.records import Records

ROOT = Path(__file__).parents[2]


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url, prepare=migrate.apply)
    yield database
    database.close(5)


def keep(connection: Connection, call_sid: str = SID) -> None:
    connection.exec_driver_sql(
        "INSERT INTO calls (call_sid, direction, agent, caller, called, parameters, started_at, resumes, fence)"
        f" VALUES ('{call_sid}', '', '', '', '', '{{}}', 0, 0, 0)"
    )


def count(connection: Connection) -> int:
    return int(connection.exec_driver_sql("SELECT count(*) FROM calls").scalar_one())


def counted(database: Database) -> int:
    """Once the database is no longer spared."""

    def is_asked_again() -> bool:
        try:
            database.refuse_while_spared()
        except RecordsUnavailable:
            return False
        return True

    wait_until(is_asked_again, "the database is asked again")
    return database.read(count, 10)


def test_while_the_database_is_locked_everybody_else_goes_on(database: Database, url: str) -> None:
    assert database.read(count, 10) == 0
    longest = 0.0

    def tick() -> None:
        nonlocal longest
        while True:
            began = time.perf_counter()
            gevent.sleep(0.005)
            longest = max(longest, time.perf_counter() - began)

    with locked(url):
        ticking = gevent.spawn(tick)
        with pytest.raises(RecordsUnavailable, match="0.6 s"):
            database.write(keep, 0.6)
        # Who asks now does not wait as well.
        began = time.perf_counter()
        with pytest.raises(RecordsUnavailable, match="asked again in 10.0 s"):
            database.read(count, 10)
        assert time.perf_counter() - began < 0.1
        assert not ticking.dead
        ticking.kill()
    print(f"longest pause of the hub: {1000 * longest:.0f} ms")
    assert 0 < longest < 0.2
    # What had begun is finished by the thread, although nobody waits for it any more; then it is asked again.
    assert counted(database) == 1


def test_work_whose_turn_comes_too_late_is_never_begun(database: Database, url: str) -> None:
    assert database.read(count, 10) == 0
    with locked(url):
        first = gevent.spawn(database.write, keep, 10)
        gevent.sleep(0)
        with pytest.raises(RecordsUnavailable):
            database.write(lambda connection: keep(connection, "CA-late"), 0.05)
    first.get(timeout=10)
    assert database.read(count, 10) == 1


def test_what_the_work_itself_does_wrong_is_raised_as_it_is_and_leaves_nothing(database: Database) -> None:
    def half(connection: Connection) -> None:
        keep(connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.write(half, 10)
    assert database.read(count, 10) == 0


def test_one_thread_does_everything_one_after_the_other(database: Database) -> None:
    seen: list[int] = []

    def work(connection: Connection) -> None:
        before = len(seen)
        connection.exec_driver_sql("SELECT 1")
        seen.append(before)

    gevent.joinall([gevent.spawn(database.write, work, 10) for _ in range(50)], timeout=10, raise_error=True)
    assert seen == list(range(50))


def test_an_address_without_a_database_is_unavailable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    for url in (f"sqlite:///{tmp_path}/not/there/voice.db", f"postgres://voice:hunter2@127.0.0.1:{port}/voice"):
        database = Database(url)
        with pytest.raises(RecordsUnavailable) as caught:
            database.read(count, 10)
        assert "hunter2" not in str(caught.value)
        database.close(5)


# PostgreSQL


def test_a_connection_that_was_cut_is_made_again(postgresql: Server) -> None:
    database = Database(postgresql.new_database(), prepare=migrate.apply)
    database.write(keep, 10)
    postgresql.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    with pytest.raises(RecordsUnavailable):
        database.read(count, 10)
    assert database.read(count, 10) == 1
    assert database.read(lambda c: c.exec_driver_sql("SHOW lock_timeout").scalar_one(), 10) == "2s"
    # After a second without use it is looked after before anybody notices.
    postgresql.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    database._used_at -= 2
    assert database.read(count, 10) == 1
    database.close(5)


def test_a_worker_has_one_connection_to_the_server(postgresql: Server) -> None:
    url = postgresql.new_database()
    name = url.split("/")[3].partition("?")[0]
    database = Database(url, prepare=migrate.apply)
    gevent.joinall([gevent.spawn(database.read, count, 10) for _ in range(20)], timeout=10, raise_error=True)
    assert postgresql.sql(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'") == "1"
    database.close(5)
    gone = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"
    wait_until(lambda: postgresql.sql(gone) == "0", "the connection is closed")


def test_the_old_scheme_of_an_address_is_understood(postgresql: Server) -> None:
    database = Database(postgresql.new_database().replace("postgresql://", "postgres://"), prepare=migrate.apply)
    assert database.read(count, 10) == 0
    database.close(5)


# SQLite


@pytest.mark.threat(11)
def test_only_we_may_read_the_file(tmp_path: Path) -> None:
    before = os.umask(0)
    database = Database(f"sqlite:///{tmp_path}/voice.db", prepare=migrate.apply)
    try:
        database.write(keep, 10)
    finally:
        os.umask(before)
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("voice.db", "voice.db-wal", "voice.db-shm"), "0o600")
    database.close(5)


@pytest.mark.threat(11)
def test_a_file_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    file = tmp_path / "voice.db"
    file.touch(mode=0o644)
    database = Database(f"sqlite:///{file}", prepare=migrate.apply)
    assert database.read(count, 10) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    database.close(5)


@pytest.mark.threat(11)
def test_it_writes_ahead_and_overwrites_what_is_deleted(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/voice.db")

    def pragmas(connection: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "secure_delete")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names]

    assert database.read(pragmas, 10) == ["wal", 1, 1]
    database.close(5)


# Under gunicorn

_APPLICATION = """
import os
from voice.records.entries import CallStarted, Turn
from voice.records.records import Records

records = None

def serve(environ, start_response):
    call_sid = f"CA{os.getpid()}"
    records.call_started(CallStarted(call_sid, "inbound", "a", "", "", 0.0, {}))
    records.turn_finished(call_sid, Turn(1, "", "", False, {}, 0.0), {"pid": os.getpid()})
    kept = records.load_checkpoint(call_sid)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(kept["pid"]).encode()]
"""
_SETTINGS = """
from gevent import monkey
monkey.patch_all()
worker_class = "gevent"
workers = 2
control_socket_disable = True

def post_worker_init(worker):
    import application
    application.records = application.Records({url!r})
    application.records.start()
"""


def test_two_workers_of_gunicorn_write_into_one_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/voice.db"
    (tmp_path / "application.py").write_text(_APPLICATION)
    (tmp_path / "settings.py").write_text(_SETTINGS.format(url=url))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "-c", "settings.py", "-b", f"127.0.0.1:{port}", "application:serve"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}", "PYTHONWARNINGS": "ignore"}
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=log)
    workers: set[str] = set()

    def answered() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                workers.add(answer.read().decode())
        except OSError:
            gevent.sleep(0.05)
        return len(workers) == 2

    try:
        wait_until(answered, "both workers have answered", 20)
    finally:
        server.terminate()
        server.wait(10)
    records = Records(url)
    assert {call.call_sid for call in records.calls()} == {f"CA{pid}" for pid in workers}
    records.stop(5)
