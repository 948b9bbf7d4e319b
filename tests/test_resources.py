"""What a machine can run out of: time on the hub, memory, descriptors, disk, readers of its log, and the right time.

Whole calls to the real server; each row of the fault matrix that can be shown in one process is shown in that one too.
"""

import contextlib
import fcntl
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import gevent
import pytest
import requests
from gevent import os as waiting
from gevent.event import Event

from tests.records.postgresql import NotHere, Server
from tests.running import Running, wait_until
from voice import drain, limits, memory, registry, supervision
from voice.core import call_log
from voice.log_output import Output
from voice.monitor import Monitor
from voice.records.outbox import Outbox
from voice.records.records import Records
from voice.sandbox.phone import Phone
from voice.web.health import health_doors

ROOT = Path(__file__).parents[1]
BAD_CODE = str(Path(__file__).parent / "bad_code")
# What sets it off there.
BLOCK, LEAK, LATER, EARLIER = range(signal.SIGRTMIN, signal.SIGRTMIN + 4)
GREETING = "how can I help you?"
BUSY = "All our lines are busy"

Tell = Callable[[str, object], None]


def call(server: Running, number: int = 0) -> Phone:
    """A caller who has heard the greeting."""
    phone = server.phone(from_number=f"+1555000{number:04}")
    phone.dial()
    phone.wait_until_heard(GREETING)
    phone.wait_until_silent()
    return phone


def calls(server: Running, most: int) -> list[Phone]:
    calling = [gevent.spawn(call, server, number) for number in range(most)]
    gevent.joinall(calling, raise_error=True)
    return [each.value for each in calling]


def on_both_workers(server: Running) -> list[Phone]:
    """At least two calls on each: whoever is idle takes the next one, so nobody knows which."""
    phones: list[Phone] = []
    unused = min(len(os.listdir(f"/proc/{pid}/fd")) for pid in workers(server))
    while len(phones) < 4 or any(len(os.listdir(f"/proc/{pid}/fd")) < unused + 6 for pid in workers(server)):
        assert len(phones) < 20
        phones.append(call(server, len(phones)))
    return phones


def ask(phone: Phone, words: str, timeout: float = 10.0) -> float:
    """Say it, and hear it repeated; seconds from the last word to the answer's first."""
    assert phone.say(words), phone.over_reason
    began = time.monotonic()
    phone.wait_until_heard(f"You said: {words}", timeout)
    phone.wait_until_silent()
    spans = [(phone.began + start / 1000, phone.began + end / 1000) for start, end in phone.agent_spans_ms]
    return next(max(0.0, start - began) for start, end in spans if end > began)


def all_ask(phones: Iterable[Phone], words: str) -> list[float]:
    """Each with its number behind the words, all at once."""
    asking = [gevent.spawn(ask, phone, f"{words} {number}") for number, phone in enumerate(phones)]
    gevent.joinall(asking, raise_error=True)
    return [each.value for each in asking]


def histories(server: Running, words: str) -> list[str]:
    """What the model was told of when a caller had said these words."""
    asked = [str(request.body["messages"]) for request in server.sandbox.xai.requests]
    return [told for told in asked if f"{words}'" in told]


def ring_off(*phones: Phone) -> None:
    for phone in phones:
        phone.hang_up()
        phone.wait_until_over()


def workers(server: Running) -> list[int]:
    children = Path(f"/proc/{server.server.pid}/task/{server.server.pid}/children").read_text()
    return [int(pid) for pid in children.split()]


def busiest(server: Running) -> int:
    return max(workers(server), key=lambda pid: len(os.listdir(f"/proc/{pid}/fd")))


def script(source: str, *arguments: str, patched: bool = True) -> subprocess.CompletedProcess[str]:
    head = "from gevent import monkey\nmonkey.patch_all()\n" if patched else ""
    command = [sys.executable, "-W", "ignore", "-c", head + source, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


# A hub that is blocked

_BLOCKED = """
import gc, os, re, subprocess, sys, time, gevent
from gevent import monkey
from voice import logs, registry
from voice.watchdog import Watchdog

sleep = monkey.get_original("time", "sleep")
pattern = re.compile("(a+)+$")
things = []

def plug_in(kind):
    gevent.sleep(0.5)
    print(time.time(), flush=True)
    if kind == "a while":
        sleep(1.5)
    elif kind == "short":
        for pause in (0.03, 0.08, 0.03, 0.08, 0.08, 0.03):
            sleep(pause)
            gevent.sleep(0.1)
        gevent.sleep(1)
        sleep(0.08)
    elif kind == "busy":
        for _ in range(5):
            end = time.monotonic() + 0.1
            while time.monotonic() < end:
                pass
            gevent.sleep(0.05)
        things.extend([n] for n in range(1_000_000))
        gevent.sleep(1)
        gc.collect()
    elif kind == "stopped":
        subprocess.Popen(["sh", "-c", f"kill -STOP {os.getpid()}; sleep 9; kill -CONT {os.getpid()}"])
        gevent.sleep(1)
    elif kind == "for good":
        while True:
            pass
    else:
        pattern.match("a" * 60 + "b")

logs.configure("info", "text", [])
call = registry.connect()
call.call_sid = "CA1"
guilty = gevent.spawn(plug_in, sys.argv[1])
guilty.name = "CA1 reply-3"
call.greenlets = lambda: [guilty]
Watchdog().start()
guilty.join()
gevent.sleep(0.6)
"""


@pytest.mark.matrix(55)
def test_who_blocks_the_hub_is_named_within_a_second(record_property: Tell) -> None:
    done = script(_BLOCKED, "a while")
    assert done.returncode == 0, done.stderr
    alarm, goes_on = done.stderr.splitlines()
    assert "ERROR voice.watchdog this worker has done nothing else for 0." in alarm
    assert re.search(r": CA1 reply-3 in <string>:\d+ plug_in(?! <)", alarm) and alarm.endswith("1 calls wait: CA1")
    assert re.search(r"WARNING voice\.watchdog this worker goes on, after 1\.[3-7] s", goes_on)
    late = _seconds_of(alarm) - float(done.stdout) % 60
    record_property("alarm_s", round(late % 60, 2))
    assert 0.3 <= late % 60 <= 1.0


def test_a_short_block_is_told_when_it_is_over_and_one_a_second() -> None:
    done = script(_BLOCKED, "short")
    assert done.returncode == 0, done.stderr
    first, last = done.stderr.splitlines()
    for line in (first, last):
        found = re.search(
            r"WARNING .* did nothing else for (\d+) ms: CA1 reply-3 in <string>:\d+ plug_in; 1 calls", line
        )
        assert found and 80 <= int(found[1]) <= 110, line
    assert "more since" not in first and last.endswith("; 2 more since the last line")


@pytest.mark.full
def test_a_block_that_needs_the_processor_is_told_and_garbage_collection_is_named() -> None:
    told = script(_BLOCKED, "busy").stderr
    assert "ms: CA1 reply-3 in <string>" in told and "ms: garbage collection, CA1 reply-3 in <string>" in told


@pytest.mark.full
def test_a_process_that_was_stopped_goes_on() -> None:
    done = script(_BLOCKED, "stopped")
    assert done.returncode == 0 and done.stderr == "", done.stderr


def _seconds_of(line: str) -> float:
    """Of the minute."""
    return float(line.split()[0].rsplit(":", 1)[1])


_STARVED = r"""
import os, subprocess, sys, time, gevent
from voice import logs
from voice.watchdog import Watchdog

logs.configure("info", "text", [])
Watchdog().start()
cpu = max(os.sched_getaffinity(0))
os.sched_setaffinity(0, {cpu})
busy = f"import os; os.sched_setaffinity(0, {{{cpu}}})\nwhile True: pass"
others = [subprocess.Popen([sys.executable, "-c", busy]) for _ in range(6)]
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
longest, end = 0.0, time.monotonic() + 5
try:
    while time.monotonic() < end:
        began = time.monotonic()
        gevent.sleep(0.05)
        longest = max(longest, time.monotonic() - began)
finally:
    for other in others:
        other.kill()
print(longest)
"""


@pytest.mark.full
def test_a_hub_that_gets_no_processor_is_not_blocked() -> None:
    done = script(_STARVED)
    assert done.returncode == 0 and float(done.stdout) > 0.2, done.stderr
    assert "nothing else" not in done.stderr


@pytest.mark.full
@pytest.mark.matrix(55)
@pytest.mark.parametrize(("kind", "least_s", "most_s"), [("for good", 4.5, 6.5), ("in C", 7, 11)])
def test_a_process_whose_hub_stays_blocked_ends(kind: str, least_s: float, most_s: float) -> None:
    done = script(_BLOCKED, kind)
    took = time.time() - float(done.stdout)
    assert done.returncode == (1 if kind == "for good" else -signal.SIGPROF), done.stderr
    assert least_s < took < most_s, done.stderr
    assert ("this worker ends itself" if kind == "for good" else "in plug_in") in done.stderr, done.stderr


@pytest.mark.full
@pytest.mark.matrix(55)
def test_a_blocked_worker_is_replaced_and_its_calls_go_on(tmp_path: Path, record_property: Tell) -> None:
    with Running(tmp_path, workers=2, PYTHONPATH=BAD_CODE) as server:
        server.forget()
        phones = on_both_workers(server)
        usual = all_ask(phones, "I am caller")
        old, blocked = workers(server), busiest(server)
        began, wall = time.monotonic(), time.time()
        os.kill(blocked, BLOCK)
        wait_until(lambda: "has done nothing else" in server.log, 2, "the alarm")
        (alarm,) = [line for line in server.log.splitlines() if "has done nothing else" in line]
        stuck = [phone for phone in phones if phone.call_sid in alarm]
        free = [phone for phone in phones if phone.call_sid not in alarm]
        assert stuck and free and "_block" in alarm
        record_property("alarm_s", round((_seconds_of(alarm) - wall) % 60, 2))
        # Callers of the other worker notice nothing, while nobody serves those of this one.
        answers = all_ask(free, "Are you there")
        record_property("answer_at_the_other_worker_s", f"{max(answers):.2f}, usually {max(usual):.2f}")
        assert max(answers) < max(usual) + 0.5 and not any(len(phone.streams) > 1 for phone in phones)
        for phone in stuck:
            wait_until(lambda phone=phone: len(phone.streams) == 2, 15, "a blocked call has another worker")
        record_property("calls_go_on_s", round(time.monotonic() - began, 1))
        for phone in stuck:
            phone.wait_until_heard("Sorry, I lost you for a second.")
            phone.wait_until_silent()
        all_ask(phones, "Who is number")
        for number in range(len(phones)):
            assert any(f"I am caller {number}'" in told for told in histories(server, f"Who is number {number}"))
        wait_until(lambda: len(workers(server)) == 2 and blocked not in workers(server), 5, "another worker")
        assert len(set(old) & set(workers(server))) == 1
        ring_off(*phones)
        assert f"Worker (pid:{blocked}) exited with code 1" in server.log


# Memory


@pytest.mark.matrix(56)
def test_a_worker_over_its_limit_is_asked_to_leave_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memory, "_LOOK_S", 0.01)
    used = [100.0]
    left: list[float] = []
    watching = memory.Memory(300, lambda: left.append(used[0]), lambda: used[0]).start()
    for used[0] in (150.0, 299.0, 300.0):
        gevent.sleep(0.03)
    assert not left
    used[0] = 301.0
    watching.join(2)
    assert left == [301.0]
    assert caplog.messages == ["this worker uses 301 MB, more than its 300 MB, and goes: another takes its place"]


def test_a_limit_below_what_a_new_worker_needs_is_none(caplog: pytest.LogCaptureFixture) -> None:
    watching = memory.Memory(64, lambda: pytest.fail("it goes"), lambda: 100.0).start()
    gevent.sleep(0.01)
    watching.kill()
    assert caplog.messages == ["64 MB are too little memory for a worker: 228 MB are its limit"]


def test_the_share_of_a_worker_is_of_what_there_is() -> None:
    one, four = limits.memory_mb(1), limits.memory_mb(4)
    assert one and four and abs(one / four - 4) < 0.1
    assert 10 < (limits.used_mb() or 0) < one


@pytest.mark.full
@pytest.mark.matrix(56)
def test_a_worker_that_leaks_hands_its_calls_over(tmp_path: Path, record_property: Tell) -> None:
    with Running(tmp_path, workers=2, PYTHONPATH=BAD_CODE, MAX_MEMORY_MB="280") as server:
        server.forget()
        phones = calls(server, 6)
        all_ask(phones, "I am caller")
        leaky = busiest(server)
        os.kill(leaky, LEAK)
        wait_until(lambda: "more than its 280 MB" in server.log, 10, "the limit is seen")
        newcomer = call(server, 99)
        wait_until(lambda: leaky not in workers(server) and len(workers(server)) == 2, 25, "another worker")
        moved = [phone for phone in phones if len(phone.streams) > 1]
        assert moved and "SIGKILL" not in server.log
        all_ask(phones, "Who is number")
        assert not any("Sorry" in phone.heard_text for phone in phones), "a call handed over in silence spoke"
        record_property("dropped_calls", sum(phone.state != "in-progress" for phone in [*phones, newcomer]))
        assert all(phone.state == "in-progress" for phone in [*phones, newcomer])
        ring_off(newcomer, *phones)


# Descriptors


def test_as_many_calls_as_there_are_descriptors_for() -> None:
    assert limits.calls_within(1024) == 107
    assert limits.calls_within(65536) > 5000
    assert limits.calls_within(100) == 1


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    source = """
import resource
from voice import limits
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, min(hard, 4096)))
print(limits.raise_descriptors(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    assert script(source).stdout.split() == [str(min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))] * 3


@pytest.mark.full
@pytest.mark.matrix(60)
def test_calls_are_refused_before_descriptors_run_out(tmp_path: Path, record_property: Tell) -> None:
    # (220 - 164) / 8 = 7 calls.
    with Running(tmp_path, prefix=("prlimit", "--nofile=100:220")) as server:
        server.forget()
        assert "220 open files are enough for 7 calls a worker: more are refused" in server.log
        phones = [server.phone(from_number=f"+1555000{number:04}") for number in range(10)]
        live, refused = phones[:7], phones[7:]
        for phone in live:
            phone.dial()
        for phone in live:
            phone.wait_until_heard(GREETING)
            phone.wait_until_silent()
        for phone in refused:
            phone.dial()
            phone.wait_until_over()
        assert all(BUSY in " ".join(phone.said) for phone in refused)
        gevent.joinall([gevent.spawn(ask, phone, "Hello there") for phone in live], raise_error=True)
        used = len(os.listdir(f"/proc/{server.worker_pid()}/fd"))
        record_property("descriptors_used", f"{used} of 220 by 7 calls")
        ring_off(*live)
        assert "Too many open files" not in server.log and "EMFILE" not in server.log


# The log's reader stops


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A small one."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    yield reader, writer
    os.close(reader)
    os.close(writer)


@pytest.mark.matrix(67)
def test_lines_that_nobody_reads_are_dropped_and_counted(
    pipe: tuple[int, int], caplog: pytest.LogCaptureFixture, record_property: Tell
) -> None:
    reader, writer = pipe
    output = Output(writer, most_bytes=20_000)
    # The pipe is full and its thread waits: how many of the lines fit does not depend on how quick it is.
    output.write(b"-" * 5000)
    wait_until(lambda: not select.select([], [writer], [], 0)[1], 2, "the pipe is full")
    longest = 0.0
    for number in range(1000):
        began = time.perf_counter()
        output.write(b"%099d\n" % number)
        longest = max(longest, time.perf_counter() - began)
    record_property("longest_write_ms", round(longest * 1000, 2))
    assert longest < 0.05 and not output.flush(0.05)
    read = b""
    while b"%099d\n" % 149 not in read:
        read += waiting.tp_read(reader, 4096)
    numbers = [int(line) for line in read[5000:].split()]
    assert numbers == list(range(150)), "not the first lines in their order"
    assert output.flush(2)
    wait_until(lambda: bool(caplog.messages), 2, "the loss is told")
    assert caplog.messages == ["850 lines of this log are missing here: nobody took them"]
    output.write(b"again\n")
    assert waiting.tp_read(reader, 4096) == b"again\n"


def test_a_child_has_a_thread_of_its_own_and_repeats_nothing(pipe: tuple[int, int]) -> None:
    source = """
import os, sys
from voice.log_output import Output
output = Output(1)
output.write(b"parent\\n")
assert output.flush(5)
child = os.fork()
output.write(b"child\\n" if child == 0 else b"")
assert output.flush(5)
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
output.write(b"parent again\\n")
output.flush(5)
"""
    # gevent's own waitpid would miss a child that ends while its parent's hub stands still.
    assert script(source, patched=False).stdout.splitlines() == ["parent", "child", "parent again"]


@pytest.mark.matrix(67)
@pytest.mark.full
def test_calls_and_master_go_on_when_nobody_reads_the_log(
    tmp_path: Path, pipe: tuple[int, int], record_property: Tell
) -> None:
    reader, writer = pipe
    server = Running(tmp_path)
    server.log_path = Path(f"/proc/self/fd/{writer}")
    with server:
        try:
            _goes_on_unread(server, record_property)
        finally:
            in_the_pipe = os.read(reader, 65536)
            server.log_path = tmp_path / "server.log"
            server.log_path.write_bytes(in_the_pipe)
        assert len(in_the_pipe) > 3000, "the pipe was not full"


def _goes_on_unread(server: Running, record_property: Tell) -> None:
    server.forget()
    for _ in range(100):
        assert requests.post(f"{server.server.url}/twilio/voice", timeout=2).status_code == 403
    phone = call(server)
    record_property("answer_s", round(ask(phone, "Is anybody there"), 2))
    # The master has its own lines to write: of a worker that was killed, and of the next one.
    old = server.worker_pid()
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: len(phone.streams) == 2, 10, "the call is at the next worker")
    assert server.worker_pid() != old
    ring_off(phone)
    os.kill(server.server.pid, signal.SIGTERM)
    process = server.server._process
    assert process is not None
    began = time.monotonic()
    wait_until(lambda: process.poll() is not None, 15, "the master ends")
    record_property("master_ends_s", round(time.monotonic() - began, 1))


# The database


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Server]:
    try:
        server = Server()
    except NotHere as reason:
        pytest.skip(str(reason))
    try:
        server.start()
        yield server
        server.stop()
    finally:
        server.remove()


@contextlib.contextmanager
def frozen(server: Server) -> Iterator[None]:
    """All of its processes stopped, as by a disk or a host that hangs: it takes connections and never answers."""
    folder = str(server._folder)
    pids = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and _is_of(entry, folder, server._data)
    ]
    assert len(pids) > 1
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _is_of(process: Path, *folders: str) -> bool:
    try:
        return os.readlink(process / "cwd") in folders
    except OSError:
        return False


@pytest.mark.full
@pytest.mark.matrix(62)
def test_the_server_starts_without_its_database(postgresql: Server, tmp_path: Path, record_property: Tell) -> None:
    url = postgresql.new_database()
    postgresql.stop()
    began = time.monotonic()
    with Running(tmp_path, DATABASE_URL=url) as server:
        record_property("start_s", round(time.monotonic() - began, 1))
        assert time.monotonic() - began < 5
        server.forget()
        wait_until(lambda: "records: cannot be written" in server.log, 5, "the alarm")
        phone = call(server)
        ask(phone, "Good morning")
        assert requests.get(f"{server.server.url}/readyz", timeout=5).json() == {"status": "ok", "records": "waiting"}
        ring_off(phone)
        postgresql.start()
        began = time.monotonic()
        wait_until(lambda: "records: written again" in server.log, 12, "the records")
        record_property("written_after_s", round(time.monotonic() - began, 1))
        assert requests.get(f"{server.server.url}/readyz", timeout=5).json() == {"status": "ok"}
    assert _kept(url, phone) == ["", "Good morning"]


@pytest.mark.full
@pytest.mark.matrix(61)
def test_a_frozen_database_is_no_callers_business(postgresql: Server, tmp_path: Path, record_property: Tell) -> None:
    url = postgresql.new_database()
    with Running(tmp_path, DATABASE_URL=url, API_TOKEN="a-token-that-nobody-guesses") as server:
        server.forget()
        phone = call(server)
        usual = ask(phone, "Before it")
        with frozen(postgresql):
            answers = [ask(phone, "While it is frozen")]
            asked = [_ask_api(server) for _ in range(3)]
            record_property("api_s", " then ".join(f"{seconds:.2f}" for _, seconds in asked))
            assert all(status == 503 for status, _ in asked)
            assert asked[0][1] < 4 and max(seconds for _, seconds in asked[1:]) < 0.25
            wait_until(lambda: "no answer for 6 s" in server.log, 10, "the alarm")
            ready = requests.get(f"{server.server.url}/readyz", timeout=5)
            assert (ready.status_code, ready.json()) == (200, {"status": "ok", "records": "waiting"})
            newcomer = call(server, 2)
            answers += [ask(newcomer, "A new call"), ask(phone, "Still frozen")]
        record_property("answer_s", f"{max(answers):.2f}, usually {usual:.2f}")
        assert max(answers) < usual + 0.5
        wait_until(lambda: "records: written again" in server.log, 12, "the records")
        wait_until(lambda: _ask_api(server)[0] == 200, 12, "the API answers")
        ring_off(phone, newcomer)
        assert "Traceback" not in server.log
    assert _kept(url, phone) == ["", "Before it", "While it is frozen", "Still frozen"]
    assert _kept(url, newcomer) == ["", "A new call"]


@pytest.mark.matrix(61)
def test_of_a_frozen_database_nobody_asks_twice(
    postgresql: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, record_property: Tell
) -> None:
    from tests.records.stories import SID, started, turn
    from voice.errors import RecordsUnavailable
    from voice.records import writer

    monkeypatch.setattr(writer, "_SILENT_S", 0.5)
    records = Records(postgresql.new_database(), timeout_s=0.25)
    records.start()
    records.call_started(started())
    assert records.flush(10)
    waited = []
    with frozen(postgresql):
        records.turn_finished(SID, turn(1), {"turn": 1})
        for _ in range(20):
            began = time.monotonic()
            with pytest.raises(RecordsUnavailable):
                records.call(SID)
            waited.append(time.monotonic() - began)
        wait_until(lambda: records.is_in_trouble, 2, "the alarm")
        records.turn_finished(SID, turn(2), {"turn": 2})
    record_property("asks_s", f"{waited[0]:.2f}, then {max(waited[1:]):.3f}")
    assert 0.2 < waited[0] < 0.5 and max(waited[1:]) < 0.02
    assert records.flush(10)
    kept = records.call(SID)
    assert kept and [t.number for t in kept.turns] == [1, 2] and not records.is_in_trouble
    assert any("cannot be written, 1 waiting: no answer for" in message for message in caplog.messages)
    records.stop(5)


@pytest.mark.full
@pytest.mark.matrix(63)
def test_a_database_that_restarts_in_mid_call_loses_and_doubles_nothing(
    postgresql: Server, tmp_path: Path, record_property: Tell
) -> None:
    url = postgresql.new_database()
    with Running(tmp_path, DATABASE_URL=url) as server:
        server.forget()
        phone = call(server)
        ask(phone, "One")
        postgresql.stop()
        ask(phone, "Two")
        gone = call(server, 2)
        ask(gone, "A call in between")
        ring_off(gone)
        postgresql.start()
        wait_until(lambda: "records: written again" in server.log, 12, "the records")
        ask(phone, "Three")
        ring_off(phone)
        wait_until(lambda: _kept(url, phone) == ["", "One", "Two", "Three"], 10, "every turn, once, in order")
    assert _kept(url, gone) == ["", "A call in between"]
    (said,) = re.findall(r"written again, \d+ waiting, (\d+) lost", server.log)
    record_property("records_lost", int(said))
    assert said == "0"


def _ask_api(server: Running) -> tuple[int, float]:
    began = time.monotonic()
    headers = {"Authorization": "Bearer a-token-that-nobody-guesses"}
    answer = requests.get(f"{server.server.url}/api/calls", headers=headers, timeout=10)
    return answer.status_code, time.monotonic() - began


def _kept(url: str, phone: Phone) -> list[str]:
    """The caller's words of each turn of the record."""
    records = Records(url)
    try:
        kept = records.call(phone.call_sid)
        return [turn.caller for turn in kept.turns] if kept else []
    finally:
        records.stop(1)


_HOLD = """
import sqlite3, sys, time
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(5)
other.close()
"""


@pytest.mark.matrix(64)
def test_a_sqlite_file_that_another_process_locks_stalls_nobody(tmp_path: Path, record_property: Tell) -> None:
    from tests.records.stories import SID, started, turn

    file = tmp_path / "voice.db"
    records = Records(f"sqlite:///{file}")
    records.start()
    records.call_started(started())
    assert records.flush(10)
    longest = 0.0
    over = Event()

    def tick() -> None:
        nonlocal longest
        while not over.is_set():
            began = time.perf_counter()
            gevent.sleep(0.005)
            longest = max(longest, time.perf_counter() - began)

    ticking = gevent.spawn(tick)
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(file)], stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline() == b"locked\n"
        began = time.monotonic()
        for number in range(1, 20):
            records.turn_finished(SID, turn(number), {"turn": number})
            gevent.sleep(0.2)
        assert records.backlog, "nothing was locked"
        assert records.flush(15)
        took = time.monotonic() - began
    over.set()
    ticking.join()
    record_property("longest_stall_ms", round(longest * 1000, 1))
    record_property("locked_s", round(took, 1))
    assert took > 4.5 and longest <= 0.05
    kept = records.call(SID)
    assert kept and [t.number for t in kept.turns] == list(range(1, 20))
    records.stop(5)


# The disk

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a disk of its own")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """To the last byte."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    return filler


@needs_root
@pytest.mark.matrix(65)
def test_a_call_log_on_a_full_disk_ends_with_a_whole_line(disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    from tests.core.stories import RULES
    from voice.call_log import CallLog
    from voice.core import events as ev
    from voice.core.conversation import Conversation
    from voice.core.transcript import Past

    filler = fill(disk)
    os.truncate(filler, filler.stat().st_size - 2 * 4096)
    log = CallLog(disk, {"call_sid": "CA1"}, RULES, Past())
    conversation = Conversation(RULES, Past())
    for number in range(300):
        event = ev.StreamStarted() if number == 0 else ev.DeadlinePassed()
        log.write(event, conversation.handle(event, number / 10), number / 10)
    log.close()
    with (disk / "CA1.jsonl").open() as lines:
        replayed = call_log.replay(lines)
    assert replayed.events > 3 and not replayed.differences
    assert len(caplog.messages) == 1 and "cannot be written and ends here" in caplog.messages[0]


@needs_root
@pytest.mark.full
@pytest.mark.matrix(65)
def test_calls_go_on_while_the_disk_is_full(disk: Path, tmp_path: Path, record_property: Tell) -> None:
    on_it = {"DATABASE_URL": f"sqlite:///{disk}/voice.db", "CALL_LOG_DIR": str(disk), "CLIPS_DIR": str(disk / "clips")}
    with Running(tmp_path, **on_it) as server:
        server.forget()
        server.calls_dir = disk
        phone = call(server)
        ask(phone, "Before it")
        filler = fill(disk)
        ask(phone, "While it is full")
        newcomer = call(server, 2)
        ask(newcomer, "A new call")
        wait_until(lambda: "records: cannot be written" in server.log, 5, "the alarm")
        filler.unlink()
        began = time.monotonic()
        wait_until(lambda: "records: written again" in server.log, 10, "the records")
        record_property("recovered_s", round(time.monotonic() - began, 1))
        ask(phone, "With room again")
        ring_off(phone, newcomer)
        assert "Traceback" not in server.log and "0 lost so far" in server.log
        assert not server.replayed(phone.call_sid).differences
        url = on_it["DATABASE_URL"]
        wait_until(lambda: len(_kept(url, phone)) == 4, 5, "all turns are kept")
        assert _kept(url, phone) == ["", "Before it", "While it is full", "With room again"]
        assert _kept(url, newcomer) == ["", "A new call"]
    record_property("dropped_calls", 0)


@needs_root
@pytest.mark.full
@pytest.mark.matrix(66)
def test_calls_go_on_while_the_disk_can_only_be_read(disk: Path, tmp_path: Path, record_property: Tell) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    on_it = {"DATABASE_URL": f"sqlite:///{disk}/voice.db", "CALL_LOG_DIR": str(disk), "CLIPS_DIR": str(disk / "clips")}
    with Running(tmp_path, **on_it) as server:
        server.forget()
        phone = call(server)
        ask(phone, "While it can only be read")
        wait_until(lambda: "records: cannot be written" in server.log, 5, "the alarm")
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        began = time.monotonic()
        wait_until(lambda: "records: written again" in server.log, 10, "the records")
        record_property("recovered_s", round(time.monotonic() - began, 1))
        ring_off(phone)
        assert "Traceback" not in server.log
        wait_until(lambda: len(_kept(on_it["DATABASE_URL"], phone)) == 2, 5, "all turns are kept")
        # What comes later has its log again.
        ring_off(call(server, 2))
        assert len(list(disk.glob("CA*.jsonl"))) == 1
    record_property("dropped_calls", 0)


# The clock


@pytest.mark.full
@pytest.mark.matrix(68)
def test_a_clock_that_jumps_ends_no_call(tmp_path: Path, record_property: Tell) -> None:
    with Running(tmp_path, PYTHONPATH=BAD_CODE, MONITOR_INTERVAL_S="0.5") as server:
        server.forget()
        phone = call(server)
        ask(phone, "Before it")
        for words, jump in {"Later": LATER, "Back again": EARLIER, "Earlier": EARLIER}.items():
            os.kill(server.worker_pid(), jump)
            ask(phone, words)
        newcomer = call(server, 2)
        os.kill(server.worker_pid(), EARLIER)
        ring_off(phone, newcomer)
        url = f"sqlite:///{tmp_path / 'voice.db'}"
        records = Records(url)
        calls = [records.call(p.call_sid) for p in (phone, newcomer)]
        records.stop(1)
        durations = [kept.ended_at - kept.started_at for kept in calls if kept and kept.ended_at]
        record_property("durations_s", ", ".join(f"{seconds:.1f}" for seconds in durations))
        assert len(durations) == 2 and all(0 < seconds < 60 for seconds in durations)
        assert [kept.reason for kept in calls if kept] == ["caller-hung-up"] * 2
        assert [turn.caller for turn in calls[0].turns] == ["", "Before it", "Later", "Back again", "Earlier"]  # type: ignore[union-attr]
        assert "idle for" not in server.log and " refused" not in server.log and "Traceback" not in server.log


@pytest.mark.matrix(68)
@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_a_token_of_the_moment_before_a_jump_is_refused_and_the_next_one_is_good(
    jump_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voice.errors import CallRefused
    from voice.services import Admission
    from voice.web.tokens import Tokens
    from voice.wires.caller import Started

    sid, admission = "CA" + "1" * 32, Admission("plain", "+15550001", "+15550002")
    tokens = Tokens("a secret")
    before = tokens.parameters(sid, admission)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + jump_s)
    with pytest.raises(CallRefused, match="too old"):
        tokens.admit(Started(sid, "MZ1", before))
    # Twilio comes back by /twilio/resume, and gets this one.
    assert tokens.admit(Started(sid, "MZ2", tokens.parameters(sid, admission, tries=1))) == admission


# Greenlets that live as long as the worker


@pytest.fixture
def healthy() -> Iterator[None]:
    yield
    supervision._failing.clear()


@pytest.mark.matrix(69)
def test_the_monitor_survives_what_makes_it_fail(
    healthy: None, caplog: pytest.LogCaptureFixture, record_property: Tell
) -> None:
    ended: list[str] = []
    connection = registry.connect()
    connection.request_end, connection.last_activity = ended.append, time.monotonic() - 100
    registry.active_sessions["nobody"] = None  # type: ignore[assignment]
    monitor = Monitor(idle_timeout_s=10, interval_s=0.05).start()
    try:
        wait_until(lambda: any("monitor: failed" in m for m in caplog.messages), 2, "the failure is told")
        assert not ended
        del registry.active_sessions["nobody"]
        began = time.monotonic()
        wait_until(lambda: bool(ended), 2, "the monitor works again")
        record_property("works_again_s", round(time.monotonic() - began, 2))
        assert time.monotonic() - began < 1 and ended[0] == "idle"
        assert supervision.failing() == []
    finally:
        monitor.kill()
        registry.active_sessions.clear()
        registry.disconnect(connection, over=False)


@pytest.mark.matrix(69)
def test_what_fails_again_and_again_turns_health_red(
    healthy: None, caplog: pytest.LogCaptureFixture, record_property: Tell
) -> None:
    from flask import Flask

    app = Flask(__name__)
    app.register_blueprint(health_doors(2, lambda: False))
    client = app.test_client()
    runs: list[float] = []

    def broken() -> None:
        runs.append(time.monotonic())
        raise ValueError("as always")

    greenlet = supervision.supervise("outbox", broken)
    assert client.get("/healthz").status_code == 200
    wait_until(lambda: bool(supervision.failing()), 2, "it is given up for a while")
    record_property("red_after_s", round(time.monotonic() - runs[0], 2))
    assert len(runs) == 5 and time.monotonic() - runs[0] <= 1
    assert (client.get("/healthz").status_code, client.get("/healthz").json) == (503, {"status": "failing"})
    assert caplog.messages[-1] == "outbox: fails again and again, and rests for 60 s"
    gevent.sleep(0.3)
    assert len(runs) == 5
    greenlet.kill()


@pytest.mark.matrix(69)
@pytest.mark.parametrize("name", ["records-writer", "outbox", "drain", "memory"])
def test_each_greenlet_of_the_worker_is_begun_again(
    name: str, healthy: None, caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> float:
        raise ValueError("a fault of ours")

    records = Records(f"sqlite:///{tmp_path}/voice.db")
    greenlets = []
    if name == "records-writer":
        monkeypatch.setattr(records._writer, "_write_or_tell", broken)
        records.start()
    elif name == "outbox":
        monkeypatch.setattr(records, "clock", broken)
        outbox = Outbox(records, lambda agent: None)
        outbox.start()
        greenlets.append(outbox)
    elif name == "drain":
        greenlets.append(drain.when_it_goes(lambda: bool(broken()), lambda: False, lambda: False, 5, lambda: None))
    else:
        monkeypatch.setattr(memory, "_LOOK_S", 0.01)
        used = iter([1.0])
        greenlets.append(memory.Memory(300, lambda: None, lambda: next(used, None) or broken()).start())
    wait_until(lambda: caplog.messages.count(f"{name}: failed and is begun again") == 2, 2, "two failures")
    for greenlet in greenlets:
        greenlet.stop() if isinstance(greenlet, Outbox) else greenlet.kill()
    monkeypatch.undo()
    records.stop(1)


def test_whoever_has_held_out_for_long_enough_is_no_longer_failing(
    healthy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "_WITHIN_S", 0.2)
    monkeypatch.setattr(supervision, "_PAUSE_S", 0.01)
    runs = 0

    def mended_after_a_while() -> None:
        nonlocal runs
        runs += 1
        if runs < 8:
            raise ValueError("not yet")
        gevent.sleep(10)

    greenlet = supervision.supervise("writer", mended_after_a_while)
    wait_until(lambda: runs == 8, 5, "it runs")
    assert supervision.failing() == ["writer"]
    wait_until(lambda: not supervision.failing(), 2, "it counts as well again")
    assert not greenlet.dead
    greenlet.kill()


def test_what_is_over_or_killed_is_not_begun_again(healthy: None) -> None:
    runs: list[int] = []
    supervision.supervise("drain", lambda: runs.append(1)).join(2)
    killed = supervision.supervise("monitor", lambda: gevent.sleep(10))
    gevent.sleep(0)
    killed.kill()
    assert runs == [1] and killed.dead and supervision.failing() == []
