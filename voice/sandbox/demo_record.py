"""The demo's call as the server's REST API tells it, once it is over."""

import statistics
import time
from collections.abc import Iterator
from typing import Any

import gevent
import requests

# The server sees to it 5 s after the call's end, and its language model takes its time.
_SUMMARY_S = 12.0


class Api:
    def __init__(self, server: str, token: str) -> None:
        self._server = server
        self._token = token

    def by_hand(self) -> str:
        """How to ask for all calls."""
        return f'curl -H "Authorization: Bearer {self._token}" {self._server}/api/calls'

    def record(self, call_sid: str) -> dict[str, Any]:
        """As it stands when it has a summary, or has been waited for long enough.

        Raises RuntimeError when there is none, or none of its end, and requests' RequestException.
        """
        deadline = time.monotonic() + _SUMMARY_S
        while True:
            record = self._get(call_sid)
            if record["summary"] or (record["ended_at"] and time.monotonic() > deadline):
                return record
            if time.monotonic() > deadline:
                raise RuntimeError("the API does not know of the call's end")
            gevent.sleep(0.2)  # the API has nothing to wait on

    def _get(self, call_sid: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}"}
        response = requests.get(f"{self._server}/api/calls/{call_sid}", headers=headers, timeout=10)
        if not response.ok:
            raise RuntimeError(f"the API does not show the call: {response.status_code} {response.text}")
        record: dict[str, Any] = response.json()
        return record


def told(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is worth a line of it, each with its name."""
    turns, streams = len(record["turns"]), record["resumes"] + 1
    yield "record", f"{record['result']}, {record['reason']}; {turns} turns on {streams} stream{'s' * (streams > 1)}"
    if record["summary"]:
        yield "summary", record["summary"]
    if record["fields"]:
        yield "fields", ", ".join(f"{name}: {value}" for name, value in record["fields"].items())
    if waits := _waits_s(record):
        median = f"the agent is heard {statistics.median(waits):.1f} s after the caller's last sound"
        yield "latency", f"{median} (median of {len(waits)} turns)"
    yield "cost", _cost(record)


def _waits_s(record: dict[str, Any]) -> list[float]:
    spoken = [turn["times"] for turn in record["turns"] if not turn["caller"].startswith("[keypad")]
    return [times["heard"] - times["speech_end"] for times in spoken if times["heard"] and times["speech_end"]]


def _cost(record: dict[str, Any]) -> str:
    by_vendor = ", ".join(f"{vendor} {usd:.4f}" for vendor, usd in record["cost"].items() if vendor != "total" and usd)
    unpriced = ", ".join(record["usage"]["unpriced"])
    missing = f"; config/prices.toml has no price for {unpriced}" if unpriced else ""
    return f"{record['cost_usd']:.4f} US dollars at the vendors' prices ({by_vendor}){missing}"
