"""Two servers with one database: whichever is told to go or dies, the other one carries its calls on."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drills.crowd import Crowd, Told
from tests.drills.processes import children
from tests.records.postgresql import NotHere, Server
from tests.running import Running
from voice.sandbox.serving import ServerProcess


@pytest.fixture
def database_url(tmp_path: Path) -> Iterator[str]:
    """PostgreSQL where there is one, as two machines would need; else a file that both share."""
    try:
        postgresql = Server()
    except NotHere:
        yield f"sqlite:///{tmp_path}/voice.db"
        return
    try:
        postgresql.start()
        yield postgresql.new_database()
        postgresql.stop()
    finally:
        postgresql.remove()


@pytest.mark.full
@pytest.mark.matrix(80)
def test_two_servers_carry_on_each_others_calls(tmp_path: Path, database_url: str, record_property: Told) -> None:
    with Running(tmp_path, workers=2, DATABASE_URL=database_url) as blue:
        with (tmp_path / "green.log").open("wb") as log, ServerProcess(blue.environment, log, workers=2) as green:
            crowd = Crowd(blue, 50)
            crowd.be_busy()
            crowd.reroute(green.url)
            os.kill(blue.server.pid, signal.SIGTERM)
            crowd.wait_until_moved(50, 20)
            crowd.gaps().tell(lambda name, value: record_property(f"told_to_go_{name}", value))
            assert max(crowd.gaps().stream) <= 2.0
            crowd.be_quiet()
            blue.server.wait()
            blue.server.start()
            crowd.be_busy()
            crowd.reroute(blue.server.url)
            for pid in (green.pid, *children(green.pid)):
                os.kill(pid, signal.SIGKILL)
            crowd.wait_until_moved(50, 20, streams=3)
            assert crowd.go_on() == []
            assert crowd.recorded(database_url) == []
            crowd.gaps().tell(lambda name, value: record_property(f"killed_{name}", value))
            assert max(crowd.gaps().stream) <= 2.0
        told = blue.log + (tmp_path / "green.log").read_text()
        assert "given up" not in told and "Traceback" not in told
