"""Vendors that refuse the account: one alarm, nobody let in, one call in a while to see."""

import logging

import pytest

from voice.breaker import PROBE_EVERY_S, Breaker


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


def test_it_admits_everybody_until_a_vendor_refuses(breaker: Breaker) -> None:
    assert all(breaker.admits() for _ in range(5))
    breaker.refused("transcriber", "invalid_api_key")
    assert not any(breaker.admits() for _ in range(5))
    assert breaker.refusing == ["transcriber"]


@pytest.mark.matrix(6, 15)
def test_a_hundred_calls_that_fail_are_one_alarm(breaker: Breaker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "voice.breaker"):
        for _ in range(100):
            breaker.refused("transcriber", "invalid_api_key")
    assert [(r.levelname, "invalid_api_key" in r.getMessage()) for r in caplog.records] == [("ERROR", True)]


def test_one_in_a_while_is_let_through_to_see(breaker: Breaker, clock: Clock) -> None:
    breaker.refused("language model", "403 no credits")
    clock.now += PROBE_EVERY_S
    assert [breaker.admits() for _ in range(3)] == [True, False, False]
    clock.now += PROBE_EVERY_S
    assert [breaker.admits() for _ in range(3)] == [True, False, False]


def test_a_call_that_began_after_the_refusal_and_works_ends_it(breaker: Breaker, clock: Clock) -> None:
    old_call = clock.now - 5
    breaker.refused("synthesizer", "quota_exceeded")
    breaker.works("synthesizer", old_call)
    assert not breaker.admits()
    clock.now += PROBE_EVERY_S
    assert breaker.admits()
    breaker.works("synthesizer", clock.now)
    assert all(breaker.admits() for _ in range(3)) and breaker.refusing == []


def test_two_vendors_have_to_work_again_both(breaker: Breaker, clock: Clock) -> None:
    breaker.refused("synthesizer", "quota_exceeded")
    breaker.refused("transcriber", "insufficient_quota")
    clock.now += PROBE_EVERY_S
    assert [breaker.admits() for _ in range(2)] == [True, False]
    breaker.works("synthesizer", clock.now)
    assert not breaker.admits()
    breaker.works("transcriber", clock.now)
    assert breaker.admits()
