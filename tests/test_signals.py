"""What a server with two workers tells machines: one sum whoever is asked, also when a worker has died; traces."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.parser import text_string_to_metric_families

from tests.collector import Collector
from tests.running import Running, wait_until
from voice.metrics import series
from voice.sandbox.phone import Phone
from voice.tracing import trace_id

ROOT = Path(__file__).parents[1]
TOKEN = "a-token-that-nobody-guesses"
TRACE_KEY = "the key of the collector"
GREETING = "how can I help you?"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Running]:
    environment = {
        "API_TOKEN": TOKEN,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"X-Key={TRACE_KEY.replace(' ', '%20')}",
        "OTEL_SERVICE_NAME": "front-desk",
    }
    with Running(tmp_path_factory.mktemp("signals"), workers=2, **environment) as running:
        running.forget()
        master = running.server.pid
        assert len(_folders(master)) == 1
        yield running
        assert TRACE_KEY not in running.log
    assert _folders(master) == [], "the folder goes with the server"


def _folders(master: int) -> list[Path]:
    return list(Path("/dev/shm").glob(f"voice-metrics-{master}-*"))


def _workers(server: Running) -> list[int]:
    children = Path(f"/proc/{server.server.pid}/task/{server.server.pid}/children").read_text().split()
    return [int(pid) for pid in children]


def _figure(server: Running, name: str, **labels: str) -> float:
    """Added up over all labels that are not given."""
    answer = requests.get(server.server.url + "/metrics", timeout=5)
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def _counted_by(server: Running, worker: int, kind: str, name: str) -> float:
    """By this worker alone, from its own file."""
    (folder,) = _folders(server.server.pid)
    values = MmapedDict.read_all_values_from_file(str(folder / f"{kind}_{worker}.db"))
    return sum(value for key, value, _, _ in values if f'"{name}"' in key)


def _calls_at_both(server: Running) -> list[Phone]:
    """Live calls, of each worker one at least."""
    phones: list[Phone] = []
    wait_until(lambda: _figure(server, "voice_workers") == 2, 10, "both workers are up")
    while len(phones) < 4 or not all(_live_at(server, worker) for worker in _workers(server)):
        assert len(phones) < 30, "thirty calls in a row went to one worker"
        phones.append(server.phone())
        phones[-1].dial()
        if len(phones) >= 4:
            phones[-1].wait_until_heard("Hello", 10)
            wait_until(lambda: _figure(server, "voice_calls_live") == len(phones), 5, "all calls are live")
    return phones


def _live_at(server: Running, worker: int) -> float:
    return _counted_by(server, worker, "gauge_livesum", "voice_calls_live")


def test_every_figure_is_there_from_the_start(server: Running) -> None:
    told = requests.get(server.server.url + "/metrics", timeout=5)
    assert told.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(told.text)}
    known = {family.name: family for family in series.REGISTRY.collect()}
    assert families.keys() == known.keys()
    assert all(
        family.samples and family.documentation == known[name].documentation for name, family in families.items()
    )


def test_any_worker_tells_of_all_and_a_dead_one_leaves_its_counts_and_no_call(server: Running) -> None:
    phones = _calls_at_both(server)
    started = len(phones)
    assert {_figure(server, "voice_calls_started_total", direction="inbound") for _ in range(8)} == {started}
    assert _figure(server, "voice_greenlets") >= 4 * started
    wait_until(lambda: _figure(server, "voice_open_sockets") >= 3 * started, 5, "three sockets of each call")

    dead = _workers(server)[0]
    moving = _live_at(server, dead)
    os.kill(dead, signal.SIGKILL)
    wait_until(lambda: _figure(server, "voice_resumes_total") == moving, 15, "its calls go on")
    wait_until(lambda: len(_workers(server)) == _figure(server, "voice_workers") == 2, 15, "another takes its place")
    wait_until(lambda: _figure(server, "voice_calls_live") == started, 5, "those of the dead are not live twice")
    assert {_figure(server, "voice_calls_started_total") for _ in range(4)} == {started}
    (folder,) = _folders(server.server.pid)
    assert list(folder.glob(f"*_{dead}.db")) == []

    for phone in phones:
        phone.hang_up()
    ended = {"result": "completed", "reason": "caller-hung-up"}
    wait_until(lambda: _figure(server, "voice_calls_ended_total", **ended) == started, 5, "the ends are counted")
    wait_until(lambda: _figure(server, "voice_calls_live") == 0, 5, "no call is live")


def test_the_stages_of_a_turn_are_figures_and_spans(server: Running, collector: Collector) -> None:
    before = {name: _figure(server, name) for name in ("voice_response_seconds_sum", "voice_stage_seconds_sum")}
    with server.phone() as phone:
        phone.wait_until_heard(GREETING, 10)
        phone.say("What about Monday?")
        phone.wait_until_heard("You said: What about Monday")
        phone.wait_until_silent()
    call_sid = phone.call_sid
    wait_until(lambda: bool(collector.of(call_sid, "call")), 10, "the span of the call")
    (call,) = collector.of(call_sid, "call")
    spans = collector.of(call_sid)
    assert {span.trace_id for span in spans} == {trace_id(call_sid).to_bytes(16, "big")}
    assert (call.parent_id, call.service, call.attributes["voice.agent"]) == (b"", "front-desk", "plain")
    assert call.attributes["voice.reason"] == "caller-hung-up"
    assert collector.headers[-1]["x_key"] == TRACE_KEY

    greeting, answer = collector.of(call_sid, "turn")
    assert {greeting.parent_id, answer.parent_id} == {call.span_id}
    assert (greeting.attributes["voice.turn"], answer.attributes["voice.turn"]) == (1, 2)
    stages = [span for span in spans if span.parent_id == answer.span_id]
    assert [span.name for span in stages if span.end_s > span.begin_s][:2] == ["stopped", "transcript"]
    assert {"first_token", "first_sentence", "first_audio", "heard"} <= {span.name for span in stages}
    assert call.begin_s < answer.begin_s == min(span.begin_s for span in stages)
    assert max(span.end_s for span in stages) < answer.end_s < call.end_s
    waited = sum(span.end_s - span.begin_s for span in stages)
    assert 0.2 < waited < 5
    assert "Monday" not in str(spans) and "+1555" not in str(spans), "no words, no numbers"

    more = {name: _figure(server, name) - was for name, was in before.items()}
    assert more["voice_response_seconds_sum"] == pytest.approx(waited, abs=0.001)
    # The greeting's stages count too.
    assert more["voice_stage_seconds_sum"] >= waited - 0.001


def test_a_collector_that_is_gone_harms_no_call(server: Running, collector: Collector) -> None:
    collector.stop()
    with server.phone() as phone:
        phone.wait_until_heard(GREETING, 10)
    wait_until(lambda: "does not take our spans" in server.log, 20, "a word in the log")
    assert _figure(server, "voice_hub_lag_seconds") < 2
    assert "Traceback" not in server.log and "opentelemetry" not in server.log


def test_a_reload_loses_no_count(server: Running) -> None:
    started = _figure(server, "voice_calls_started_total")
    old = set(_workers(server))
    os.kill(server.server.pid, signal.SIGHUP)
    wait_until(lambda: len(_workers(server)) == 2 and not old & set(_workers(server)), 90, "new workers")
    wait_until(lambda: _figure(server, "voice_workers") == 2, 10, "both are up")
    assert _figure(server, "voice_calls_started_total") == started
    assert len(_folders(server.server.pid)) == 1


@pytest.mark.threat(23)
def test_the_figures_are_for_the_machine_itself_and_whoever_has_the_token(server: Running) -> None:
    url = server.server.url + "/metrics"

    def status(**headers: str) -> int:
        return requests.get(url, headers={k.replace("_", "-"): v for k, v in headers.items()}, timeout=5).status_code

    assert (status(), status(Host="localhost"), status(Host="[::1]:8000")) == (200, 200, 200)
    for proxied in ({"X_Forwarded_For": "203.0.113.9"}, {"Forwarded": "for=203.0.113.9"}, {"Via": "1.1 x"}):
        assert status(**proxied) == 401
        assert status(**proxied, Authorization=f"Bearer {TOKEN}") == 200
    for host in ("voice.example.com", "evil.example", "127.0.0.1.evil.example"):
        assert status(Host=host) == 401, host
    assert status(Host="voice.example.com", Authorization=f"bearer  {TOKEN} ") == 200
    for wrong in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer "):
        assert status(Host="voice.example.com", Authorization=wrong) == 401
    assert requests.post(url, timeout=5).status_code == 405


def test_without_an_endpoint_nothing_of_opentelemetry_is_imported() -> None:
    code = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import sys, server\n"
        "from voice import tracing\n"
        "tracing.Tracing(None, {}, 'voice').start()\n"
        "assert tracing.begin('CA1') is None\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'google.protobuf'))])"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr
