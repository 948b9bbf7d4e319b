"""What a worker has to itself for a while, and which calls nobody seems to hold; the same on both databases."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tests.records.conftest import Clock
from tests.records.stories import AT, ended, started, written
from voice.records.entries import Standing
from voice.records.records import Records


def held(records: Records, call_sid: str, owner: str, at: float = AT) -> None:
    """A call on a stream, with that worker."""
    records.call_started(replace(started(call_sid, at), stream_name=f"stream of {call_sid}", owner=owner))


def test_a_lease_is_one_owners_until_it_is_over_or_given_back(records: Records, clock: Clock) -> None:
    assert records.lease("finish CA1", "one", 60)
    assert not records.lease("finish CA1", "two", 60)
    assert records.lease("finish CA1", "one", 60) and records.lease("finish CA2", "two", 60)
    clock.now += 60
    assert records.lease("finish CA1", "two", 60)
    records.release("finish CA1", "one")
    assert not records.lease("finish CA1", "one", 60)
    records.release("finish CA1", "two")
    assert records.lease("finish CA1", "one", 60)


def test_of_several_workers_that_want_a_lease_at_once_one_has_it(records: Records, url: str, clock: Clock) -> None:
    workers = [records, *(Records(url, clock=clock) for _ in range(3))]
    written(records)
    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(lambda n: workers[n].lease("finish CA1", f"worker-{n}", 60), range(4)))
    assert sorted(won) == [False] * 3 + [True]
    for worker in workers[1:]:
        worker.stop(5)


def test_one_comes_back_behind_a_stream_twilio_or_a_worker(records: Records) -> None:
    assert records.may_ask_back("0-0-ab", "one") and not records.may_ask_back("0-0-ab", "two")
    assert records.may_ask_back("0-0-ab", "one"), "it may not have heard the answer the first time"
    records.came_back("0-0-ab")
    records.came_back("0-0-cd")
    assert not records.may_ask_back("0-0-ab", "one") and not records.may_ask_back("0-0-cd", "one")
    assert records.may_ask_back("0-0-ef", "two")


def test_leases_that_are_long_over_are_thrown_away(records: Records, clock: Clock) -> None:
    for number in range(5):
        records.lease(f"finish CA{number}", "one", 60)
    clock.now += 3661
    records.lives("one", 30)
    names = records.read(lambda connection: connection.exec_driver_sql("SELECT name FROM leases").scalars().all())
    assert names == ["worker one"]


def test_a_call_stands_with_its_latest_stream_and_worker(records: Records, clock: Clock) -> None:
    assert records.standing("CA1") is None
    records.call_started(started("CA1"))
    assert records.standing("CA1") is None, "it was placed, and nobody has answered"
    held(records, "CA1", "one")
    records.lives("one", 30)
    assert records.standing("CA1") == Standing("CA1", "stream of CA1", "one", True, None, None)
    # Whoever placed it may tell so after it was answered.
    records.call_started(started("CA1"))
    clock.now += 30
    assert records.standing("CA1") == Standing("CA1", "stream of CA1", "one", False, None, None)
    claim = records.claim("CA1", "two")
    assert claim is not None
    resumed = replace(started("CA1"), stream_name="another", owner="two")
    records.call_started(resumed, claim.fence)
    records.call_ended("CA1", ended(), claim.fence)
    assert records.standing("CA1") == Standing("CA1", "another", "two", False, AT + 60, "completed")


def test_calls_that_nobody_seems_to_hold(records: Records, clock: Clock) -> None:
    clock.now = AT + 100
    for owner in ("here", "alive", "dead"):
        held(records, f"CA-of-{owner}", owner, AT)
    records.lives("here", 30)
    records.lives("alive", 30)
    for call_sid, result, ago in (
        ("CA-lost", "lost", 21),
        ("CA-handed-over", "handed-over", 299),
        ("CA-just-lost", "lost", 19),
        ("CA-lost-long-ago", "lost", 301),
        ("CA-over", "completed", 21),
        ("CA-transferred", "transferred", 21),
    ):
        held(records, call_sid, "alive", AT + 1)
        records.call_ended(call_sid, ended(at=clock.now - ago, result=result))
    records.call_started(started("CA-placed"))
    found = {orphan.call_sid: (orphan.owner_lives, orphan.result) for orphan in records.orphans("here")}
    assert found == {
        "CA-of-here": (True, None),
        "CA-of-dead": (False, None),
        "CA-lost": (True, "lost"),
        "CA-handed-over": (True, "handed-over"),
    }


def test_an_end_that_is_guessed_leaves_what_was_counted(records: Records) -> None:
    records.call_started(started())
    call_sid = started().call_sid
    records.call_updated(call_sid, usage={"tokens": 3}, cost={"telephone": 0.5}, cost_usd=0.5)
    records.call_ended(call_sid, replace(ended(), usage={}, cost={}, result="lost"), if_open=True)
    kept = records.call(call_sid)
    assert kept and (kept.result, kept.usage, kept.cost_usd) == ("lost", {"tokens": 3}, 0.5)
