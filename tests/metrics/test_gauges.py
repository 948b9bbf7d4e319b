"""What a worker measures of itself: this process stands for one."""

import socket
from collections.abc import Iterator

import gevent
import pytest
from gevent import monkey

from tests.running import wait_until
from voice import registry
from voice.metrics import gauges, series
from voice.pressure import Pressure

_block = monkey.get_original("time", "sleep")


@pytest.fixture
def running() -> Iterator[None]:
    pressure = Pressure()
    started = [pressure.start(), gauges.Gauges(7, pressure).start()]
    yield
    gevent.killall(started)
    for connection in registry.connections():
        registry.disconnect(connection, over=False)


def _told(name: str) -> float:
    return series.REGISTRY.get_sample_value(name) or 0.0


def test_a_block_is_seen_and_so_are_sockets_and_a_drain(running: None) -> None:
    wait_until(lambda: _told("voice_calls_allowed") == 7, 3, "the first look")
    sockets = _told("voice_open_sockets")
    assert _told("voice_hub_lag_seconds") < 0.2 and _told("voice_memory_bytes") > 2**20
    of_call = [gevent.spawn(gevent.sleep, 60) for _ in range(2)]
    registry.connect().greenlets = lambda: of_call
    registry.draining.set()
    opened = [socket.socket() for _ in range(50)]
    try:
        _block(0.6)
        wait_until(lambda: 0.3 < _told("voice_hub_lag_seconds") < 2, 3, "the block is told")
        assert (_told("voice_workers_draining"), _told("voice_calls_allowed"), _told("voice_greenlets")) == (1, 0, 2)
        wait_until(lambda: _told("voice_open_sockets") >= sockets + 50, 5, "the sockets are told")
    finally:
        registry.draining.clear()
        gevent.killall(of_call)
        for each in opened:
            each.close()
