"""What calls have cost, how long and how often they were, as the limits count it: the same in both databases."""

from dataclasses import replace

import pytest

from tests.records.conftest import Clock
from tests.records.stories import started
from voice.records.entries import CallEnded
from voice.records.records import Records


def ended(at: float, seconds: float | None, dollars: float) -> CallEnded:
    usage = {} if seconds is None else {"call_seconds": seconds}
    return CallEnded("completed", "caller-hung-up", at, usage, {"total": dollars})


@pytest.mark.threat(5, 16)
def test_sums_of_calls(records: Records, clock: Clock) -> None:
    now = clock.now
    assert (records.cost_since(0), records.outbound_seconds(0), records.calls_of("+15550001", 0)) == (0, 0, 0)
    for number, (ago, seconds) in enumerate(((5000, 100.5), (3000, 50.0), (2000, None))):
        records.call_started(replace(started(f"CA-{number}", now - ago), direction="outbound"))
        records.call_ended(f"CA-{number}", ended(now - 1, seconds, 1.25))
    records.call_started(replace(started("CA-live", now - 20), direction="outbound"))
    records.call_updated("CA-live", cost_usd=0.5)
    records.call_started(started("CA-inbound", now - 10))
    records.call_started(started("CA-another", now - 10, caller="+15550002"))
    assert records.cost_since(now - 6000) == 4.25 and records.cost_since(now - 4000) == 3.0
    assert records.outbound_seconds(now - 6000) == 170.5 and records.outbound_seconds(now - 4000) == 70.0
    assert records.calls_of("+15550001", now - 6000) == 1, "only those that came in"
