"""What is written of a call, and what is told of it afterwards; the same on both databases."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from tests.records.conftest import Clock
from tests.records.stories import AT, SID, ended, started, turn, written
from voice.records.entries import CallRecord, Noted, Outbound, Turn
from voice.records.records import Records
from voice.records.schema import outbound, outbox


def test_a_call_comes_back_as_it_was(records: Records, clock: Clock) -> None:
    clock.now = AT + 1.5
    records.call_started(started())
    records.noted(SID, "barge-in", {"turn": 1})
    records.noted(SID, "late", {"stage": "first token", "seconds": [1, 2.5]})
    records.turn_finished(SID, turn(2, "What are your hours?", "We are open from", cut=True), {"turn": 2})
    records.turn_finished(SID, turn(1), {"turn": 1})
    records.call_updated(SID, answered_by="human", summary="Asked for the hours.", fields={"wants": "hours"})
    records.call_ended(SID, ended())
    assert records.call(SID) == CallRecord(
        call_sid=SID,
        direction="inbound",
        agent="receptionist",
        caller="+15550001",
        called="+15559999",
        parameters={"first_name": "Ann"},
        answered_by="human",
        started_at=AT,
        ended_at=AT + 60,
        finished_at=None,
        result="completed",
        reason="caller-hung-up",
        summary="Asked for the hours.",
        fields={"wants": "hours"},
        usage={"tokens": 12},
        cost_usd=0.03,
        cost={"telephone": 0.01, "synthesizer": 0.02},
        resumes=0,
        fence=0,
        owner=None,
        checkpoint={"turn": 1},
        turns=(turn(1), turn(2, "What are your hours?", "We are open from", cut=True)),
        events=(
            Noted(AT + 1.5, "barge-in", {"turn": 1}),
            Noted(AT + 1.5, "late", {"stage": "first token", "seconds": [1, 2.5]}),
        ),
    )


def test_there_is_nothing_of_a_call_that_never_was(records: Records) -> None:
    assert records.call(SID) is None
    assert records.load_checkpoint(SID) is None
    assert records.claim(SID, "worker-1") is None
    assert records.delete_call(SID) is False


def test_a_call_that_goes_on_has_no_end_any_more_and_its_first_start(records: Records) -> None:
    records.call_started(started())
    records.call_ended(SID, ended(result="handed over"))
    records.call_started(started(at=AT + 100))
    call = records.call(SID)
    assert call is not None
    assert (call.started_at, call.ended_at, call.result, call.reason) == (AT, None, None, None)


def test_a_turn_and_its_checkpoint_are_kept_together_in_the_order_of_keys(records: Records) -> None:
    records.call_started(started())
    assert records.load_checkpoint(SID) is None
    records.turn_finished(SID, turn(1), {"z": 1, "a": [{"role": "user", "content": "hi"}]})
    assert list(records.load_checkpoint(SID) or ()) == ["z", "a"]
    records.checkpoint(SID, {"turn": 1, "said": "more"})
    assert records.load_checkpoint(SID) == {"turn": 1, "said": "more"}


def test_a_turn_written_twice_is_one_turn(records: Records) -> None:
    records.call_started(started())
    records.turn_finished(SID, turn(1, "hm"), {})
    records.turn_finished(SID, turn(1, "hm, yes"), {})
    call = records.call(SID)
    assert call is not None and call.turns == (turn(1, "hm, yes"),)


def test_what_changes_after_it_was_written_does_not_change_what_is_kept(records: Records) -> None:
    checkpoint = {"history": ["one"]}
    records.call_started(started())
    records.turn_finished(SID, turn(1), checkpoint)
    checkpoint["history"].append("two")
    assert records.load_checkpoint(SID) == {"history": ["one"]}


def test_card_numbers_are_kept_nowhere(records: Records) -> None:
    card, spoken = "4111 1111 1111 1111", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"
    records.call_started(started())
    records.turn_finished(SID, turn(1, f"[keypad] {spoken}", f"I heard {card}"), {"messages": [{"content": card}]})
    records.noted(SID, "tool", {"arguments": f'{{"card": "{card}"}}'})
    records.call_updated(SID, summary=f"Paid with {card}.", fields={"card": card})
    kept = str(records.call(SID))
    assert "4111" not in kept and "4 1 1 1" not in kept
    assert kept.count("**** **** **** 1111") == 5 and "* * * * 1 1 1 1" in kept


STRANGE = ("a\0b", "half \ud83d", "\u202e\u2028", "'; DROP TABLE calls; --", "x" * 100_000, "%s %(a)s :b {c} ?")


def test_strange_words_are_kept(records: Records) -> None:
    for number, strange in enumerate(STRANGE):
        call_sid, same = f"CA{number}", strange.replace("\0", "").replace("\ud83d", "?")
        records.call_started(started(call_sid, agent=strange, caller=strange))
        records.turn_finished(call_sid, turn(1, strange, strange), {strange: strange})
        records.noted(call_sid, strange, {strange: strange})
        records.call_ended(call_sid, ended(result=strange))
        call = records.call(call_sid)
        assert call is not None
        assert (call.turns[0].caller, call.events[0].kind, call.result) == (same, same, same)
        assert call.checkpoint == {same: same}


def test_values_without_a_place_in_json_do_not_keep_a_turn_from_being_kept(records: Records) -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    records.call_started(started())
    records.turn_finished(SID, turn(1), circle)
    records.turn_finished(SID, Turn(2, "", "", False, {"nan": float("nan")}, AT), {"set": {"b", "a"}, "big": 10**30})
    call = records.call(SID)
    assert call is not None and [t.number for t in call.turns] == [1, 2]
    assert call.turns[1].times == {"nan": None}
    assert records.load_checkpoint(SID) == {"set": ["a", "b"], "big": 10**30}


def test_an_update_of_something_else_is_an_error_of_the_program(records: Records) -> None:
    with pytest.raises(TypeError, match="checkpoint, fence"):
        records.call_updated(SID, fence=3, checkpoint={})


# Owners


def test_what_a_former_owner_writes_is_ignored_and_told_once(
    records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    records.call_started(started())
    records.turn_finished(SID, turn(1), {"turn": 1})
    claim = records.claim(SID, "worker-2")
    assert claim is not None
    assert (claim.fence, claim.resumes, claim.checkpoint, claim.result) == (1, 1, {"turn": 1}, None)
    with caplog.at_level(logging.WARNING):
        records.turn_finished(SID, turn(2, "old"), {"turn": 2})
        records.checkpoint(SID, {"turn": "old"})
        records.call_ended(SID, ended())
        records.turn_finished(SID, turn(2, "new"), {"turn": "new"}, fence=claim.fence)
        records.call_started(started())
        call = records.call(SID)
    assert call is not None
    assert (call.owner, call.fence, call.resumes, call.ended_at) == ("worker-2", 1, 1, None)
    assert [t.caller for t in call.turns] == ["", "new"]
    assert records.load_checkpoint(SID) == {"turn": "new"}
    assert [m for m in caplog.messages if "not written" in m] == [
        f"{SID}: turn 2 not written: another worker has carried it on: worker-2"
    ]
    records.call_ended(SID, ended(), fence=claim.fence)
    records.call_started(started())
    again = records.claim(SID, "worker-3")
    assert again is not None
    assert (again.fence, again.resumes, again.checkpoint, again.result) == (2, 2, {"turn": "new"}, "completed")


def test_of_several_workers_that_claim_at_once_each_has_its_own_fence(records: Records, url: str) -> None:
    records.call_started(started())
    written(records)
    others = [Records(url) for _ in range(3)]
    with ThreadPoolExecutor(4) as pool:
        claims = list(pool.map(lambda worker: worker.claim(SID, "someone"), [records, *others]))
    assert sorted(claim.fence for claim in claims if claim) == [1, 2, 3, 4]
    for worker, claim in zip([records, *others], claims, strict=True):
        assert claim is not None
        if worker is not records:
            worker.start()
        worker.checkpoint(SID, {"fence": claim.fence}, fence=claim.fence)
        written(worker)
    assert records.load_checkpoint(SID) == {"fence": 4}
    for worker in others:
        worker.stop(5)


# Many calls


def test_calls_are_listed_the_latest_first_by_page_and_by_who(records: Records) -> None:
    for number in range(6):
        agent, caller = ("sales", "+1999") if number % 2 else ("receptionist", "+1555")
        records.call_started(started(f"CA{number}", AT + number, agent, caller))
    records.turn_finished("CA5", turn(1), {})
    records.call_ended("CA4", ended())

    def listed(**wanted: Any) -> list[str]:
        return [call.call_sid for call in records.calls(**wanted)]

    assert listed() == ["CA5", "CA4", "CA3", "CA2", "CA1", "CA0"]
    assert listed(limit=2) == ["CA5", "CA4"]
    assert listed(limit=2, before=AT + 4) == ["CA3", "CA2"]
    assert listed(agent="sales") == ["CA5", "CA3", "CA1"]
    assert listed(caller="+1555", live=True) == ["CA2", "CA0"]
    assert listed(live=False) == ["CA4"]
    assert records.calls(limit=1)[0].turns == ()


def everything_of(records: Records, call_sid: str) -> None:
    records.call_started(started(call_sid))
    records.turn_finished(call_sid, turn(1, "my secret"), {"said": "my secret"})
    records.noted(call_sid, "tool", {"said": "my secret"})
    records.post(call_sid, "receptionist", {"said": "my secret"})
    records.outbound_placed(Outbound(f"order-{call_sid}", "+1555", "receptionist", {"said": "my secret"}, call_sid))


def rows(records: Records) -> dict[str, int]:
    """What the tables hold, by themselves."""
    tables = ("calls", "turns", "events", "outbox", "outbound")
    return records.read(
        lambda connection: {
            table: connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() for table in tables
        }
    )


def test_a_deleted_call_is_gone_and_stays_gone(records: Records) -> None:
    everything_of(records, SID)
    everything_of(records, "CA2")
    assert rows(records) == dict.fromkeys(("calls", "turns", "events", "outbox", "outbound"), 2)
    assert records.delete_call(SID) is True
    # That a call was placed still counts against the limits; nothing else of it is left.
    assert rows(records) == dict.fromkeys(("calls", "turns", "events", "outbox"), 1) | {"outbound": 2}
    placed = records.read(lambda connection: connection.execute(select(outbound.c.to, outbound.c.parameters)).all())
    assert sorted(placed)[0] == ("", {})
    records.turn_finished(SID, turn(2), {})
    records.noted(SID, "tool", {})
    records.post(SID, "receptionist", {})
    records.call_updated(SID, summary="my secret")
    records.call_ended(SID, ended())
    assert rows(records) == dict.fromkeys(("calls", "turns", "events", "outbox"), 1) | {"outbound": 2}
    assert records.call(SID) is None


def test_old_calls_are_deleted_however_many_they_are(records: Records, clock: Clock) -> None:
    clock.now = AT
    everything_of(records, SID)
    for number in range(450):
        records.call_started(started(f"CA-old-{number}"))
    records.call_ended("CA-old-7", ended(at=AT + 5000))
    records.outbound_placed(Outbound("never taken", "+1555", "receptionist", {}))
    clock.now = AT + 3601
    records.call_started(started("CA-new", clock.now))
    assert records.delete_older_than(3600) == 450
    assert [call.call_sid for call in records.calls()] == ["CA-new", "CA-old-7"]
    assert rows(records) == {"calls": 2, "turns": 0, "events": 0, "outbox": 0, "outbound": 0}


def test_outbound_calls_are_remembered_and_counted(records: Records, clock: Clock) -> None:
    clock.now = AT
    records.outbound_placed(Outbound("one", "+1555", "sales", {"first_name": "Ann"}))
    clock.now = AT + 50
    records.outbound_placed(Outbound("two", "+1666", "sales", {}))
    records.outbound_placed(Outbound("one", "+1555", "sales", {"first_name": "Ann"}, SID))
    assert records.outbound("one") == Outbound("one", "+1555", "sales", {"first_name": "Ann"}, SID)
    assert records.outbound("three") is None
    assert (records.outbound_count(AT), records.outbound_count(AT + 1), records.outbound_count(AT + 51)) == (2, 1, 0)
    assert (records.outbound_count(AT, to="+1555"), records.outbound_count(AT, to="+1777")) == (1, 0)


def test_whoever_asks_sees_what_was_written_just_before(records: Records) -> None:
    asks: tuple[Callable[..., Any], ...] = (Records.call, Records.load_checkpoint, Records.delete_call)
    for number, ask in enumerate(asks):
        for other in range(30):
            records.call_started(started(f"CA-{number}-{other}"))
            records.turn_finished(f"CA-{number}-{other}", turn(1), {"turn": 1})
        assert ask(records, f"CA-{number}-29")
        assert records.backlog == 0


def test_a_call_that_is_over_is_finished_by_one_worker_only(records: Records, url: str, clock: Clock) -> None:
    records.call_started(started())
    assert records.to_finish(SID) is None and not records.finish(SID, "clinic", {}, {"too": "early"})
    records.turn_finished(SID, turn(1), {"turn": 1})
    clock.now = AT + 60.5
    records.call_ended(SID, ended())
    written(records)
    workers = [records, *(Records(url, clock=clock) for _ in range(3))]
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda worker: worker.to_finish(SID), workers))
        won = list(pool.map(lambda worker: worker.finish(SID, "clinic", {"summary": "Short."}, {"a": 1}), workers))
    assert [call.checkpoint for call in seen if call] == [{"turn": 1}] * 4 and sorted(won) == [False] * 3 + [True]
    kept = records.call(SID)
    assert kept and (kept.summary, kept.finished_at) == ("Short.", AT + 60.5)
    assert _posted(records) == [("clinic", '{"a":1}')]
    records.call_started(started())
    records.call_ended(SID, ended())
    assert records.finish(SID, "clinic", {}, None)
    for worker in workers[1:]:
        worker.stop(5)


def _posted(records: Records) -> list[tuple[str, str]]:
    return records.read(
        lambda connection: [tuple(row) for row in connection.execute(select(outbox.c.agent, outbox.c.body))]
    )


def test_a_transfer_is_not_over_until_it_is_known_what_came_of_it(records: Records, clock: Clock) -> None:
    records.call_started(started())
    clock.now = AT + 100
    records.call_ended(SID, replace(ended(at=AT + 1), result="transferred"))
    assert records.to_finish(SID) is None and records.unfinished() == []
    records.call_updated(SID, result="completed")
    assert records.to_finish(SID) is not None
    records.call_updated(SID, result="transferred")
    clock.now = AT + 86402
    assert records.unfinished() == [SID]


def test_an_end_that_is_only_guessed_does_not_replace_one_that_is_known(records: Records) -> None:
    records.call_started(started())
    records.call_ended(SID, replace(ended(), reason="guessed"), if_open=True)
    records.call_ended(SID, replace(ended(), reason="known"))
    records.call_ended(SID, replace(ended(), reason="guessed"), if_open=True)
    kept = records.call(SID)
    assert kept and kept.reason == "known"


def test_calls_that_nobody_has_finished_are_found(records: Records, clock: Clock) -> None:
    records.call_started(started("CA-lost", AT))
    clock.now = AT + 86401
    for call_sid in ("CA-left", "CA-just-over", "CA-done", "CA-live"):
        records.call_started(started(call_sid, clock.now - 100))
    records.call_ended("CA-left", ended(at=clock.now - 61))
    records.call_ended("CA-done", ended(at=clock.now - 61))
    records.call_ended("CA-just-over", ended(at=clock.now - 1))
    assert records.finish("CA-done", "clinic", {}, None)
    assert records.unfinished() == ["CA-lost", "CA-left"]
    assert all(records.finish(call_sid, "clinic", {}, None) for call_sid in ("CA-lost", "CA-left"))
    assert records.unfinished() == []
