"""Every figure with its labels and buckets. docs/metrics.md explains each; a test holds the two lists equal.

No value of a label is a caller's, a model's or a vendor's text: all of them stand in our code.
"""

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from voice.core.events import Vendor

REGISTRY = CollectorRegistry()
"""Of this process alone; nobody reads it when there is a folder."""

REFUSALS = ("full", "no-time", "at-once", "number", "budget", "vendor")
"""Why a call was not taken."""
VENDORS: tuple[str, ...] = get_args(Vendor)
STAGES = ("stopped", "transcript", "first_token", "first_sentence", "first_audio", "heard")
"""Of `TurnTimes`, each behind the one before."""
_STAGE_BUCKETS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0)
_RESPONSE_BUCKETS = (0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.6, 2.0, 2.5, 3.5, 5.0, 10.0)
_CALL_BUCKETS = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(name, text, labels, registry=REGISTRY)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(name, text, labels, buckets=buckets, registry=REGISTRY)


def _sum(name: str, text: str) -> Gauge:
    return Gauge(name, text, registry=REGISTRY, multiprocess_mode="livesum")


# What happens in calls

calls_started = _counter("voice_calls_started_total", "Calls that began.", "direction")
calls_refused = _counter("voice_calls_refused_total", "Calls that were not taken.", "reason")
resumes = _counter("voice_resumes_total", "Streams that carried on a call which another stream had begun.")
calls_ended = _counter("voice_calls_ended_total", "Streams of calls that ended.", "result", "reason")
call_seconds = _histogram("voice_call_seconds", "How long the streams of calls lasted.", _CALL_BUCKETS)
turns = _counter("voice_turns_total", "Turns of the agent that were over.")
barge_ins = _counter("voice_barge_ins_total", "Turns that the caller cut short.")
false_interruptions = _counter("voice_false_interruptions_total", "Noises that stopped the agent, who then went on.")
stage_seconds = _histogram("voice_stage_seconds", "What a stage added to the caller's wait.", _STAGE_BUCKETS, "stage")
response_seconds = _histogram(
    "voice_response_seconds", "From the caller's last sound to the agent's first.", _RESPONSE_BUCKETS
)
dead_air_rescues = _counter("voice_dead_air_rescues_total", "Late stages and their remedies.", "stage", "remedy")
thrown_away = _counter("voice_replies_thrown_away_total", "Answers that were made and that nobody heard.")
vendor_errors = _counter("voice_vendor_errors_total", "Failures of a vendor.", "vendor")
vendor_refusals = _counter("voice_vendor_refusals_total", "Failures for key or quota, which all calls share.", "vendor")
vendor_reconnects = _counter("voice_vendor_reconnects_total", "A vendor was connected or asked once more.", "vendor")
tool_seconds = _histogram("voice_tool_seconds", "How long tools took.", _STAGE_BUCKETS, "outcome")
cost_usd = _counter("voice_cost_usd_total", "What calls have cost, by config/prices.toml.", "vendor")

# What each worker measures of itself

worker_starts = _counter("voice_worker_starts_total", "Workers that came up.")
workers = _sum("voice_workers", "Workers that live.")
workers_draining = _sum("voice_workers_draining", "Workers that hand their calls over and go.")
calls_live = _sum("voice_calls_live", "Live calls.")
calls_allowed = _sum("voice_calls_allowed", "Live calls that the workers take at most.")
greenlets = _sum("voice_greenlets", "Greenlets of calls, those that outlived their call among them.")
open_sockets = _sum("voice_open_sockets", "Open sockets of the workers.")
memory_bytes = _sum("voice_memory_bytes", "Memory that the workers use.")
hub_lag = Gauge(
    "voice_hub_lag_seconds",
    "The longest that a worker kept all its greenlets waiting, of the last 30 s.",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)

# A counter that begins at 1 shows Prometheus no increase.
for _vendor in VENDORS:
    for _counted in (vendor_errors, vendor_refusals, vendor_reconnects):
        _counted.labels(_vendor)
for _vendor in ("telephone", *VENDORS):
    cost_usd.labels(_vendor)
for _stage in STAGES:
    stage_seconds.labels(_stage)
for _direction in ("inbound", "outbound"):
    calls_started.labels(_direction)
for _refusal in REFUSALS:
    calls_refused.labels(_refusal)
for _outcome in ("done", "failed"):
    tool_seconds.labels(_outcome)
for _end in (
    ("completed", "caller-hung-up"),
    ("completed", "agent-hung-up"),
    ("lost", "stream-lost"),
    ("lost", "error"),
):
    calls_ended.labels(*_end)
for _rescue in (("first token", "filler"), ("first token", "asked again"), ("speech", "spoken again")):
    dead_air_rescues.labels(*_rescue)
