"""Whatever is killed, its calls go on: a worker, the master with all workers, a worker every twenty seconds."""

import os
import signal
import time
from pathlib import Path
from random import Random

import gevent
import pytest

from tests.drills.crowd import SORRY, Crowd, Told, database, heard
from tests.drills.processes import KEEPER, busiest, children, workers
from tests.running import Running, wait_until
from voice.sandbox.journal import PhoneTimeout


@pytest.mark.full
@pytest.mark.matrix(48)
def test_the_calls_of_a_killed_worker_go_on_at_the_other(tmp_path: Path, record_property: Told) -> None:
    with Running(tmp_path, workers=2) as running:
        crowd = Crowd(running, 50)
        crowd.be_busy()
        os.kill(busiest(workers(running)), signal.SIGKILL)
        crowd.wait_until_moved(20, 15)
        crowd.wait_until_back(15)
        for phone in crowd.phones[::3]:
            # The silent ones; who speaks interrupts it.
            if phone in crowd.moved():
                phone.wait_until_heard(SORRY)
        assert crowd.go_on() == []
        assert crowd.recorded(database(running)) == []
        record_property("moved_calls", len(crowd.gaps().stream))
        crowd.gaps().tell(record_property)
        assert len(crowd.gaps().stream) >= 20 and max(crowd.gaps().stream) <= 2.0
        assert "given up" not in running.log and "Traceback" not in running.log


@pytest.mark.full
@pytest.mark.matrix(49)
def test_the_calls_of_a_killed_master_go_on_at_the_next_one(tmp_path: Path, record_property: Told) -> None:
    """Its workers end when they notice; nobody kills them."""
    began = time.monotonic()
    with Running(tmp_path, workers=2, prefix=KEEPER) as running:
        start_s = time.monotonic() - began
        crowd = Crowd(running, 50)
        crowd.be_busy()
        (master,) = children(running.server.pid)
        os.kill(master, signal.SIGKILL)
        crowd.wait_until_moved(50, 15)
        assert crowd.go_on() == []
        assert crowd.recorded(database(running)) == []
        crowd.gaps().tell(record_property)
        record_property("start_of_a_server_s", round(start_s, 1))
        assert max(crowd.gaps().stream) <= 4.0 + start_s
        assert "given up" not in running.log and "Traceback" not in running.log


KILLS = 15
EVERY_S = 20.0


@pytest.mark.full
def test_a_worker_is_killed_every_twenty_seconds(tmp_path: Path, record_property: Told) -> None:
    random = Random(1)
    with Running(tmp_path, workers=2) as running:
        crowd = Crowd(running, 20)
        answered: list[list[float]] = [[] for _ in crowd.phones]
        talking = [gevent.spawn(_talk, crowd, number, answered[number]) for number in range(20)]
        killed: list[float] = []
        for _ in range(KILLS):
            wait_until(lambda: len(workers(running)) == 2, 10, "two workers are there")
            killed.append(time.monotonic())
            os.kill(random.choice(workers(running)), signal.SIGKILL)
            gevent.sleep(EVERY_S)  # the beat of the drill, not a wait for something
        gevent.killall(talking)
        went_on = sum(any(at < one <= at + EVERY_S for one in times) for times in answered for at in killed)
        gaps = crowd.gaps()
        faults = crowd.go_on()
        record_property("kills", KILLS)
        record_property("moved_calls", len(gaps.stream))
        record_property("went_on_percent", round(100 * went_on / (20 * KILLS), 1))
        gaps.tell(record_property)
        assert went_on >= 0.99 * 20 * KILLS and faults == []
        assert crowd.recorded(database(running)) == []


def _talk(crowd: Crowd, number: int, answered: list[float]) -> None:
    """Ask and ask; a question that was lost with the worker is asked again."""
    phone = crowd.phones[number]
    asked = 0
    while True:
        asked += 1
        what = f"Caller {number:04} asks for time {asked} now"
        try:
            if not phone.say(what):
                return
            phone.wait_for(heard(phone, what), 6)
        except PhoneTimeout:
            continue
        answered.append(time.monotonic())
        gevent.sleep(1)
