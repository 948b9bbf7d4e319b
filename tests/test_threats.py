"""What strangers try at the doors of a real server: the rows of the threat table that no smaller test shows."""

import copy
import re
import resource
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from gevent.pool import Pool

from config.start import load
from server import create_app
from tests.running import Running, wait_until
from tests.web.served import PUBLIC, Served, new_call_sid
from voice.sandbox.serving import ServerProcess

Tell = Callable[[str, object], None]
API_TOKEN = "a-token-that-nobody-guesses"
MANY = 1000
WSS = PUBLIC.replace("https", "wss") + "/twilio/stream"
# The last: style sheets and scripts of the console, here asked for one that is not there.
OPEN_TO_ALL = {"/healthz", "/readyz", "/console/static/CA" + "0" * 32}
OPEN_TO_THE_MACHINE_ITSELF = {"/metrics"}
UPGRADE = "GET /twilio/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
UPGRADE += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("threats")
    (folder / "tmp").mkdir()
    with Running(folder, API_TOKEN=API_TOKEN, TMPDIR=str(folder / "tmp")) as running:
        _as_many_files_as_allowed()
        yield Served(running)
        running.wait_until_idle()


@pytest.fixture(scope="module")
def second(first: Served) -> Iterator[Served]:
    """Another server with the same account and the same records, as on another machine."""
    with (first.running.folder / "second.log").open("wb") as log:
        with ServerProcess(first.running.environment, log) as server:
            running = copy.copy(first.running)
            running.server, running.log_path = server, first.running.folder / "second.log"
            yield Served(running)


def _as_many_files_as_allowed() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _record(served: Served, call_sid: str) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {API_TOKEN}"}
    told: dict[str, object] = requests.get(f"{served.url}/api/calls/{call_sid}", headers=headers, timeout=5).json()
    return told


# Replays


def _refused(served: Served, call_sid: str, parameters: dict[str, str]) -> str:
    stream = served.upgrade()
    stream.start(call_sid, parameters)
    code, reason = stream.closed()
    stream.leave()
    assert code == 1008
    return reason


@pytest.mark.threat(3)
def test_what_was_spent_at_one_server_is_spent_at_all(first: Served, second: Served) -> None:
    call_sid = new_call_sid()
    parameters = first.parameters(call_sid)
    stream = first.upgrade()
    stream.start(call_sid, parameters)
    assert stream.next()["event"] == "media"
    assert "token is spent" in _refused(second, call_sid, parameters), "the same start again"
    assert "begun before" in _refused(second, call_sid, second.parameters(call_sid)), "the same webhook again"
    stream.leave()
    wait_until(lambda: bool(_record(first, call_sid).get("ended_at")), 5, "the end of the call")
    assert "begun before" in _refused(second, call_sid, second.parameters(call_sid)), "and when the call is over"


@pytest.mark.threat(3)
@pytest.mark.matrix(46)
def test_of_two_streams_with_one_token_at_the_same_moment_one_is_let_in(first: Served, second: Served) -> None:
    for _ in range(5):
        call_sid = new_call_sid()
        parameters = first.parameters(call_sid)
        streams = [first.upgrade(), second.upgrade()]
        Pool(2).map(lambda stream: stream.start(call_sid, parameters), streams)
        heard = Pool(2).map(lambda stream: stream.socket.recv_data()[0], streams)
        assert sorted(opcode == 8 for opcode in heard) == [False, True], "one close frame, one greeting"
        for stream in streams:
            stream.leave()


@pytest.mark.threat(3)
def test_while_the_records_do_not_answer_calls_begin_all_the_same(first: Served, record_property: Tell) -> None:
    call_sid = new_call_sid()
    parameters = first.parameters(call_sid)
    stream = first.upgrade()
    lock = sqlite3.connect(first.running.folder / "voice.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        began = time.monotonic()
        stream.start(call_sid, parameters)
        assert stream.next()["event"] == "media"
        took = time.monotonic() - began
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    record_property("greeted_without_records_ms", round(took * 1000))
    # The database is waited for a quarter of a second, and not for the five that it may take.
    assert took < 1.5
    stream.leave()
    assert "token is spent" in _refused(first, call_sid, parameters), "what this worker spent it remembers"


# Many sockets


@pytest.mark.threat(2)
def test_a_thousand_sockets_without_a_signature_reach_no_vendor(first: Served, record_property: Tell) -> None:
    first.running.wait_until_idle()
    before = first.vendors_connected()
    wrong = dict(first.sign(WSS + "x"))

    def answered(number: int) -> bytes:
        head = "".join(f"{k}: {v}\r\n" for k, v in (wrong if number % 2 else {}).items())
        with _connection(first) as sock:
            sock.sendall(f"{UPGRADE}{head}\r\n".encode())
            return sock.recv(100).split(b" ", 2)[1]

    began = time.monotonic()
    assert set(Pool(50).imap_unordered(answered, range(MANY))) == {b"403"}
    record_property("thousand_refused_s", round(time.monotonic() - began, 1))
    # Some may have been on their way for the calls of the tests before.
    assert first.vendors_connected() - before < MANY / 100
    record_property("vendor_requests", first.vendors_connected() - before)


@pytest.mark.threat(2, 3, 4)
@pytest.mark.matrix(59)
@pytest.mark.full
def test_a_thousand_signed_sockets_that_never_start_make_room_within_six_seconds(
    first: Served, record_property: Tell
) -> None:
    """A handshake's signature was recorded, and is sent again."""
    first.running.wait_until_idle()
    before, memory = first.vendors_connected(), first.running.memory_mb()
    head = "".join(f"{name}: {value}\r\n" for name, value in first.sign(WSS).items())
    sockets = [_connection(first) for _ in range(MANY)]
    try:
        for sock in sockets:
            sock.sendall(f"{UPGRADE}{head}\r\n".encode())
        began = time.monotonic()
        grown = 0.0

        def admitted() -> bool:
            nonlocal grown
            grown = max(grown, first.running.memory_mb() - memory)
            call_sid = new_call_sid()
            try:
                stream = first.upgrade()
                stream.start(call_sid, first.parameters(call_sid))
                opcode = stream.socket.recv_data()[0]
                stream.leave()
            except OSError:
                # Closed with 1013 before our start was on its way.
                return False
            return bool(opcode != 8)

        wait_until(admitted, 6, "a call is admitted again")
        took = time.monotonic() - began
    finally:
        for sock in sockets:
            sock.close()
    record_property("admitted_again_s", round(took, 1))
    record_property("memory_mb", round(grown, 1))
    assert took <= 6 and grown <= 45
    # Of the fifty that wait for their start at most, and of the call that was admitted.
    record_property("vendor_connections", first.vendors_connected() - before)
    assert first.vendors_connected() - before <= 2 * (50 + 1)
    # From now on no vendor is connected before a stream has shown its token.
    before = first.vendors_connected()
    first.forget_log()
    call_sid = new_call_sid()
    stream = first.upgrade()
    first.wait_for_log("stream accepted")
    assert first.post("/twilio/stream-status", {}).status_code == 204
    assert first.vendors_connected() == before
    stream.start(call_sid, first.parameters(call_sid))
    assert stream.next()["event"] == "media"
    wait_until(lambda: first.vendors_connected() == before + 2, 5, "both vendors")
    stream.leave()


@pytest.mark.threat(17)
def test_connections_that_say_nothing_or_half_a_head_hold_nobody_up(first: Served) -> None:
    sockets = [_connection(first) for _ in range(400)]
    try:
        for sock in sockets[::2]:
            sock.sendall(b"POST /twilio/voice HTTP/1.1\r\nX-Slow: ")
        began = time.monotonic()
        assert first.parameters(new_call_sid())["token"]
        assert time.monotonic() - began < 6
    finally:
        for sock in sockets:
            sock.close()


def _connection(served: Served) -> socket.socket:
    address = urlsplit(served.url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=10)


# Lies in a request


@pytest.mark.threat(21)
def test_whatever_host_a_request_names_the_audio_goes_to_ours(first: Served) -> None:
    lies = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"}
    lies |= {"Forwarded": "host=evil.example", "X-Original-Host": "evil.example", "X-Forwarded-Prefix": "/evil"}
    form = {"CallSid": new_call_sid(), "From": "+15550001111", "To": "+15559990000", "CallStatus": "ringing"}
    headers = first.sign(PUBLIC + "/twilio/voice", form) | lies
    answer = requests.post(f"{first.url}/twilio/voice", data=form, headers=headers, timeout=5)
    assert answer.status_code == 200 and f'url="{WSS}"' in answer.text and "evil" not in answer.text
    forged = first.sign("https://evil.example/twilio/voice", form) | lies
    assert requests.post(f"{first.url}/twilio/voice", data=form, headers=forged, timeout=5).status_code == 403


@pytest.mark.threat(22)
def test_a_status_of_somebody_elses_call_ends_none_and_makes_none(first: Served) -> None:
    call_sid, unknown = new_call_sid(), new_call_sid()
    stream = first.upgrade()
    stream.start(call_sid, first.parameters(call_sid))
    assert stream.next()["event"] == "media"
    foreign = {"CallSid": call_sid, "CallStatus": "completed", "AccountSid": "AC" + "9" * 32}
    first.forget_log()
    assert first.post("/twilio/status", foreign).status_code == 204
    assert "ignored" in first.wait_for_log("another account's")
    assert first.post("/twilio/status", foreign | {"CallSid": "../../etc"}).status_code == 204
    ours = {
        "CallSid": unknown,
        "CallStatus": "completed",
        "AccountSid": first.running.environment["TWILIO_ACCOUNT_SID"],
    }
    assert first.post("/twilio/status", ours).status_code == 204
    assert _record(first, unknown)["error"] == "unknown_call"
    assert _record(first, call_sid)["ended_at"] is None
    assert first.post("/twilio/status", ours | {"CallSid": call_sid}).status_code == 204
    wait_until(lambda: bool(_record(first, call_sid).get("ended_at")), 5, "the end of the call")
    stream.leave()


@pytest.mark.threat(28)
def test_what_the_network_says_of_a_number_is_kept_as_a_hint_and_decides_nothing(first: Served) -> None:
    agents = set()
    for verdict in ("TN-Validation-Passed-A", "TN-Validation-Failed-C", "<script>", ""):
        call_sid = new_call_sid()
        parameters = first.parameters(call_sid, StirVerstat=verdict, From="+15550001111")
        agents.add(parameters["agent"])
        stream = first.upgrade()
        stream.start(call_sid, parameters)
        assert stream.next()["event"] == "media", verdict
        events = _record(first, call_sid)["events"]
        assert isinstance(events, list)
        kept = [event["detail"] for event in events if event["kind"] == "caller-id"]
        assert kept == ([{"stir": verdict}] if verdict.startswith("TN-") else [])
        stream.leave()
    assert agents == {"plain"}


# What stands open, and what is left behind


@pytest.mark.threat(23)
def test_there_is_no_door_besides_those_that_are_listed(first: Served) -> None:
    assert _let_in(first, Host="voice.example.com") == OPEN_TO_ALL
    assert _let_in(first) == OPEN_TO_ALL | OPEN_TO_THE_MACHINE_ITSELF


def _let_in(served: Served, **headers: str) -> set[str]:
    let_in = set()
    for rule in create_app(*load(served.running.environment)).url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "CA" + "0" * 32, rule.rule)
        for method in (rule.methods or set()) - {"OPTIONS"}:
            answer = requests.request(method, served.url + path, headers=headers, timeout=5, allow_redirects=False)
            # Without the head of an upgrade a stream's door is no door at all.
            is_no_door = path in ("/twilio/stream", "/console/phone/stream") and answer.status_code == 400
            if answer.status_code not in (401, 403) and not is_no_door:
                let_in.add(path)
    return let_in


@pytest.mark.threat(23)
def test_gunicorn_takes_no_orders_through_a_socket_of_its_own(first: Served) -> None:
    processes = [first.running.server.pid, first.running.worker_pid()]
    inodes = {link for pid in processes for link in _links(Path(f"/proc/{pid}/fd"))}
    listening = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    # Flag 0x10000: it listens.
    assert [line for line in listening if int(line[3], 16) & 0x10000 and f"socket:[{line[6]}]" in inodes] == []


@pytest.mark.threat(27)
def test_nothing_of_a_call_is_left_in_a_temporary_file(first: Served) -> None:
    folder = first.running.folder
    with first.running.phone() as phone:
        phone.wait_until_heard("how can I help you", 10)
    first.running.wait_until_idle()
    assert list((folder / "tmp").iterdir()) == []
    kept = {path.name.split(".")[0] if path.parent == folder else path.parent.name for path in _files(folder)}
    assert kept <= {"server", "second", "voice", "calls", "clips"}
    assert not [
        path for path in _files(folder) if path.suffix in (".wav", ".raw", ".ulaw", ".mp3") and "clips" not in str(path)
    ]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _links(folder: Path) -> list[str]:
    found = []
    for link in folder.iterdir():
        try:
            found.append(str(link.readlink()))
        except OSError:
            pass
    return found
