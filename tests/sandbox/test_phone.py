"""The simulated phone against a little server that plays a script over real sockets."""

import itertools
import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event
from gevent.server import StreamServer
from websockets.sync.server import ServerConnection, serve

from tests.sandbox.scripted_server import ACCOUNT, PUBLIC, STREAM, TOKEN, ScriptedServer, Talk
from voice.core.audio import SILENCE
from voice.sandbox.call_plan import CallSetup
from voice.sandbox.coded_speech import encode_speech, text_of
from voice.sandbox.journal import PhoneTimeout
from voice.sandbox.phone import Phone

VOICE = "/twilio/voice"


def phone_to(url: str, **options: Any) -> Phone:
    return Phone(server=url, account_sid=ACCOUNT, auth_token=TOKEN, public_url=PUBLIC, **options)


def listen(talk: Talk) -> None:
    talk.read_until(lambda message: message["event"] == "stop")


def moment(phone: Phone, kind: str, direction: str, detail: object = "") -> float:
    """Milliseconds since the dialing of the first such event."""
    found = [e for e in phone.events if (e.kind, e.direction) == (kind, direction) and detail in ("", e.detail)]
    return (found[0].at - phone.began) * 1000


class Unread:
    """A socket on which nothing is received until `read` is set."""

    def __init__(self, sock: Any) -> None:
        self._sock, self.read = sock, Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, size: int) -> bytes:
        self.read.wait()
        received: bytes = self._sock.recv(size)
        return received


# Answering and ending


def test_the_first_request_is_signed_and_carries_the_call() -> None:
    with ScriptedServer({VOICE: "<Hangup/>"}) as server:
        phone = phone_to(server.url, from_number="+15551230000")
        phone.dial()
        phone.wait_until_over()
    voice, status = server.forms
    assert (voice["path"], voice["CallSid"], voice["AccountSid"]) == (VOICE, phone.call_sid, ACCOUNT)
    assert (voice["From"], voice["Caller"], voice["To"]) == ("+15551230000", "+15551230000", "+15559990000")
    assert (voice["CallStatus"], voice["Direction"], voice["FromZip"]) == ("ringing", "inbound", "")
    assert (status["path"], status["CallStatus"], status["CallDuration"]) == ("/twilio/status", "completed", "0")
    assert (phone.state, phone.over_reason, phone.errors, phone.warnings) == ("completed", "<Hangup>", [], [])


def test_a_wrong_token_is_refused_and_the_call_fails() -> None:
    with ScriptedServer({VOICE: "<Hangup/>"}) as server:
        phone = Phone(server=server.url, account_sid=ACCOUNT, auth_token="another", public_url=PUBLIC)
        phone.dial()
        phone.wait_until_over()
    assert phone.state == "failed"
    assert phone.errors[0].code == 11200


def test_verbs_run_in_order_until_the_end_of_the_document() -> None:
    document = "<Say>One &amp; <break/>two</Say><Play>/x.mp3</Play><Dance/><Redirect method='GET'>/more?a=1</Redirect>"
    with ScriptedServer({VOICE: document, "/more": "<Pause length='0'/><Say>Three</Say>"}) as server:
        phone = phone_to(server.url, setup=CallSetup(status_callback=None))
        phone.dial()
        phone.wait_until_over()
    assert phone.said == ["One & two", "Three"]
    assert [(f["path"], f["method"], f.get("a")) for f in server.forms] == [
        (VOICE, "POST", None),
        ("/more", "GET", "1"),
    ]
    assert [warning.code for warning in phone.warnings] == [12200]
    assert phone.over_reason == "the end of the TwiML"


@pytest.mark.parametrize(("reason", "state"), [("busy", "busy"), ("rejected", "no-answer")])
def test_reject(reason: str, state: str) -> None:
    with ScriptedServer({VOICE: f"<Reject reason='{reason}'/>"}) as server:
        phone = phone_to(server.url)
        phone.dial()
        phone.wait_until_over()
    assert phone.state == state == server.forms[-1]["CallStatus"]


def test_dial_asks_its_action_how_to_go_on() -> None:
    document = "<Dial action='/after'><Number>+15557770000</Number></Dial><Say>not reached</Say>"
    with ScriptedServer({VOICE: document, "/after": "<Say>Nobody there</Say>"}) as server:
        phone = phone_to(server.url, setup=CallSetup(dial_outcome="no-answer"))
        phone.dial()
        phone.wait_until_over()
    assert (phone.dialed, phone.said) == (["+15557770000"], ["Nobody there"])
    assert server.forms[1]["DialCallStatus"] == "no-answer"


def test_a_bridged_dial_lasts_until_the_caller_hangs_up() -> None:
    with ScriptedServer({VOICE: "<Dial>+15557770000</Dial><Say>not reached</Say>"}) as server:
        phone = phone_to(server.url, setup=CallSetup(dial_outcome="bridged"))
        phone.dial()
        phone.wait_for("dial")
        assert phone.state == "in-progress"
        phone.hang_up()
        phone.wait_until_over()
    assert (phone.said, phone.over_reason) == ([], "the caller hung up")


def test_hanging_up_breaks_off_a_pause() -> None:
    with ScriptedServer({VOICE: "<Pause length='600'/>"}) as server:
        phone = phone_to(server.url)
        phone.dial()
        phone.wait_for("answered")
        phone.hang_up()
        phone.wait_until_over(timeout=3)


def test_a_failing_webhook_is_replaced_by_the_fallback() -> None:
    with ScriptedServer({VOICE: 500, "/fallback": "<Say>Sorry</Say>"}) as server:
        phone = phone_to(server.url, setup=CallSetup(fallback_url="/fallback"))
        phone.dial()
        phone.wait_until_over()
    assert (phone.said, phone.state) == (["Sorry"], "completed")
    assert (server.forms[1]["ErrorCode"], server.forms[1]["ErrorUrl"]) == ("11200", PUBLIC + VOICE)


def test_a_bin_helps_as_often_as_the_server_is_not_there_and_leads_to_where_it_is_now() -> None:
    with ScriptedServer({}) as gone:
        phone = phone_to(
            gone.url,
            setup=CallSetup(fallback_twiml=f"<Response><Pause/><Redirect>{PUBLIC}{VOICE}</Redirect></Response>"),
        )
    phone.dial()
    phone.wait_for(lambda: len(phone.errors) == 2)
    with ScriptedServer({VOICE: "<Say>Here I am</Say>"}) as server:
        phone.reroute(server.url)
        phone.wait_until_over()
    assert (phone.said, phone.state) == (["Here I am"], "completed")
    assert {error.code for error in phone.errors} == {11205}


@pytest.mark.parametrize(("document", "code"), [("<Say>", 12100), ("<Connect/>", 12100), (503, 11200)])
def test_what_is_no_document_ends_the_call(document: str | int, code: int) -> None:
    with ScriptedServer({VOICE: document}) as server:
        phone = phone_to(server.url)
        phone.dial()
        phone.wait_until_over()
    assert (phone.state, phone.errors[0].code) == ("failed", code)


def test_a_webhook_is_tried_once_more_when_the_connection_fails() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n<Response><Say>Hi</Say></Response>"
    visits = itertools.count()

    def visit(connection: socket.socket, _: object) -> None:
        connection.recv(65536)
        if next(visits) > 0:
            connection.sendall(answer)

    server = StreamServer(("127.0.0.1", 0), visit)
    server.start()
    phone = phone_to(f"http://127.0.0.1:{server.server_port}", setup=CallSetup(status_callback=None))
    phone.dial()
    phone.wait_until_over()
    server.stop()
    assert (phone.said, phone.errors) == (["Hi"], [])
    assert len(phone.journal.all("webhook")) == 2


def test_nobody_listening_ends_the_call() -> None:
    with ScriptedServer() as server:
        url = server.url
    phone = phone_to(url)
    phone.dial()
    phone.wait_until_over()
    assert (phone.state, phone.errors[0].code) == ("failed", 11205)


# The stream


def test_a_greeting_is_heard_in_real_time_and_its_mark_comes_back() -> None:
    def greet(talk: Talk) -> None:
        talk.play(encode_speech("Good morning", 7), "greeting")
        listen(talk)

    with ScriptedServer({VOICE: STREAM}, greet) as server:
        with phone_to(server.url) as phone:
            phone.wait_until_stream()
            assert phone.heard_text == ""
            phone.wait_until_heard("good  MORNING")
            phone.wait_for(lambda: server.talks[0].all("mark"))
    talk = server.talks[0]
    start = talk.messages[1]["start"]
    assert start["customParameters"] == {"token": "abc"}
    assert (start["callSid"], start["accountSid"], talk.stream_sid) == (phone.call_sid, ACCOUNT, phone.stream_sid)
    (heard,) = phone.heard
    assert (heard.text, heard.tag, heard.complete, heard.end_ms - heard.start_ms) == ("Good morning", 7, True, 720)
    assert moment(phone, "mark", "sent") - moment(phone, "media", "received") >= 719
    assert phone.warnings == []


def test_a_mark_with_nothing_before_it_comes_back_at_once() -> None:
    def script(talk: Talk) -> None:
        talk.send("mark", mark={"name": "now"})
        talk.read_until(lambda message: message["event"] == "mark")

    with ScriptedServer({VOICE: STREAM}, script) as server:
        phone = phone_to(server.url)
        phone.dial()
        phone.wait_until_over()
    received, sent = moment(phone, "mark", "received"), moment(phone, "mark", "sent")
    assert 0 <= sent - received < 20
    assert [m["mark"]["name"] for m in server.talks[0].all("mark")] == ["now"]


def test_clear_drops_what_was_not_played_and_returns_the_marks() -> None:
    def script(talk: Talk) -> None:
        talk.play(encode_speech("This sentence is never heard to its end, however long it takes", 1), "one")
        talk.play(encode_speech("and this one not at all", 1), "two")
        talk.read_until(lambda message: len(talk.all("media")) == 30)
        talk.send("clear")
        talk.read_until(lambda message: len(talk.all("mark")) == 2)
        talk.play(encode_speech("New", 2), "three")
        talk.read_until(lambda message: len(talk.all("mark")) == 3)

    with ScriptedServer({VOICE: STREAM}, script) as server:
        phone = phone_to(server.url)
        phone.dial()
        phone.wait_until_over()
    assert [m["mark"]["name"] for m in server.talks[0].all("mark")] == ["one", "two", "three"]
    cut, new = phone.heard
    assert (cut.complete, new.complete, new.text, new.tag) == (False, True, "New", 2)
    assert "This sentence is never heard to its end".startswith(cut.text) and len(cut.text) >= 5
    assert new.start_ms >= moment(phone, "clear", "received")
    first, second = phone.agent_spans_ms
    assert first[1] <= second[0] and first[1] - cut.end_ms < 40


def test_the_callers_frames_arrive_complete_and_at_twenty_milliseconds() -> None:
    spoken = encode_speech("What are your opening hours on Monday?", 3)

    def script(talk: Talk) -> None:
        talk.read_until(lambda message: len(talk.all("media")) == 130)

    with ScriptedServer({VOICE: STREAM}, script) as server:
        phone = phone_to(server.url)
        phone.dial()
        phone.wait_until_stream()
        utterance = phone.play_async(spoken)
        phone.wait_until_over()
    talk = server.talks[0]
    media = talk.all("media")
    assert utterance.over.is_set()
    assert [m["sequenceNumber"] for m in talk.messages[1:]] == [str(n + 1) for n in range(len(talk.messages) - 1)]
    assert [m["media"]["chunk"] for m in media] == [str(n + 1) for n in range(130)]
    assert [m["media"]["timestamp"] for m in media] == [str(n * 20) for n in range(130)]
    assert {m["media"]["track"] for m in media} == {"inbound"}
    assert talk.audio == bytes(phone.sent[: len(talk.audio)])
    assert spoken in talk.audio and set(talk.audio[-160:]) == {SILENCE[0]}
    lasted_ms = moment(phone, "error", "call") - moment(phone, "start", "sent")
    assert lasted_ms / 130 == pytest.approx(20, abs=1.5)


def test_say_returns_when_the_last_word_was_sent() -> None:
    with ScriptedServer({VOICE: STREAM}, listen) as server:
        with phone_to(server.url) as phone:
            phone.wait_until_stream()
            assert phone.say("Hello there")
            assert text_of(bytes(phone.sent)) == "Hello there"
            sent_ms = moment(phone, "utterance-ended", "sent") - moment(phone, "utterance-began", "sent")
            assert sent_ms == pytest.approx(640, abs=60)
    assert text_of(server.talks[0].audio) == "Hello there"


def test_say_tells_when_the_call_ended_before_its_last_word() -> None:
    def script(talk: Talk) -> None:
        talk.read_until(lambda message: len(talk.all("media")) == 10)

    with ScriptedServer({VOICE: STREAM}, script) as server:
        phone = phone_to(server.url)
        phone.dial()
        assert not phone.say("A sentence that is longer than two hundred milliseconds")
        assert not phone.say("Nobody is listening")


def test_digits() -> None:
    with ScriptedServer({VOICE: STREAM}, listen) as server:
        with phone_to(server.url) as phone:
            with pytest.raises(RuntimeError):
                phone.press("1")
            phone.wait_until_stream()
            phone.press("4#")
    digits = server.talks[0].all("dtmf")
    assert [m["dtmf"] for m in digits] == [{"track": "inbound_track", "digit": d} for d in "4#"]


@pytest.mark.parametrize(
    "malformed",
    [
        '{"event":"media","streamSid":"SID","media":{"payload":"////","track":"outbound"}}',
        '{"event":"media","streamSid":"SID","media":{"payload":"not base64!"}}',
        '{"event":"media","streamSid":"SID","media":{}}',
        '{"event":"media","streamSid":"SID","sequenceNumber":"1","media":{"payload":"////"}}',
        '{"event":"media","streamSid":"MZanother","media":{"payload":"////"}}',
        '{"event":"media","media":{"payload":"////"}}',
        '{"event":"mark","streamSid":"SID","mark":{"name":""}}',
        '{"event":"mark","streamSid":"SID","mark":{"name":5}}',
        '{"event":"mark","streamSid":"SID"}',
        '{"event":"clear","streamSid":"SID","clear":{}}',
        '{"event":"stop","streamSid":"SID"}',
        '{"streamSid":"SID"}',
        "[1]",
        "null",
        "not JSON",
    ],
)
def test_a_malformed_message_is_a_warning_and_does_nothing(malformed: str) -> None:
    def script(talk: Talk) -> None:
        talk.ws.send(malformed.replace("SID", talk.stream_sid))
        talk.play(encode_speech("Ok"), "end")
        talk.read_until(lambda message: message["event"] == "mark")

    with ScriptedServer({VOICE: STREAM}, script) as server:
        phone = phone_to(server.url)
        phone.dial()
        phone.wait_until_over()
    assert [warning.code for warning in phone.warnings] == [31951]
    assert phone.heard_text == "Ok"


def test_a_binary_message_is_a_warning() -> None:
    def script(talk: Talk) -> None:
        talk.ws.send(b"\x00\x01")
        talk.send("mark", mark={"name": "end"})
        talk.read_until(lambda message: message["event"] == "mark")

    with ScriptedServer({VOICE: STREAM}, script) as server:
        phone = phone_to(server.url)
        phone.dial()
        phone.wait_until_over()
    assert [warning.code for warning in phone.warnings] == [31950]


def test_another_websocket_server_agrees_about_the_frames_and_may_fragment_and_ping() -> None:
    document = "<Response><Connect><Stream url='wss://voice.example.com/stream'/></Connect></Response>"
    pongs: list[bool] = []

    def stream(connection: ServerConnection) -> None:
        messages = [json.loads(connection.recv()) for _ in range(3)]
        text = json.dumps({"event": "mark", "streamSid": messages[1]["streamSid"], "mark": {"name": "in pieces"}})
        connection.send([text[:10], text[10:30], text[30:]])
        pongs.append(connection.ping().wait(5))
        while json.loads(connection.recv())["event"] != "mark":
            pass

    with serve(stream, "127.0.0.1", 0) as server:
        gevent.spawn(server.serve_forever)
        setup = CallSetup(twiml=document, status_callback=None)
        phone = phone_to(f"http://127.0.0.1:{server.socket.getsockname()[1]}", setup=setup)
        phone.dial()
        phone.wait_until_over()
    assert (pongs, phone.warnings, [error.code for error in phone.errors]) == ([True], [], [31921])
    assert phone.journal.all("mark")[-1].detail == "in pieces"


# How streams end


def close(talk: Talk) -> None:
    return


def break_off(talk: Talk) -> None:
    talk.ws.sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(("script", "code"), [(close, 31921), (break_off, 31903)])
def test_when_the_server_ends_the_stream_the_next_verb_runs(script: Callable[[Talk], None], code: int) -> None:
    documents: dict[str, str | int] = {VOICE: STREAM + "<Redirect>resume</Redirect>", "/twilio/resume": "<Hangup/>"}
    with ScriptedServer(documents, script) as server:
        phone = phone_to(server.url)
        phone.dial()
        phone.wait_until_over()
    assert server.paths() == [VOICE, "/twilio/resume", "/twilio/status"]
    assert server.forms[1]["CallStatus"] == "in-progress"
    assert [error.code for error in phone.errors] == [code]


def test_a_resumed_call_has_a_second_stream_and_goes_on_speaking() -> None:
    def script(talk: Talk) -> None:
        if len(server.talks) == 1:
            talk.read_until(lambda message: len(talk.all("media")) == 10)
        else:
            listen(talk)

    documents: dict[str, str | int] = {VOICE: STREAM + "<Redirect>/resume</Redirect>", "/resume": STREAM}
    with ScriptedServer(documents, script) as server:
        with phone_to(server.url) as phone:
            assert phone.say("This is said over two streams")
    first, second = server.talks
    assert text_of(first.audio + second.audio) == "This is said over two streams"
    assert first.stream_sid != second.stream_sid and phone.streams == [first.stream_sid, second.stream_sid]
    assert second.all("media")[0]["media"]["chunk"] == "1"


def test_hanging_up_sends_stop_and_runs_no_further_verb() -> None:
    with ScriptedServer({VOICE: STREAM + "<Redirect>/resume</Redirect>"}, listen) as server:
        phone = phone_to(server.url)
        phone.dial()
        phone.wait_until_stream()
        phone.hang_up()
        phone.wait_until_over()
    assert server.paths() == [VOICE, "/twilio/status"]
    assert server.talks[0].messages[-1]["stop"] == {"accountSid": ACCOUNT, "callSid": phone.call_sid}
    assert phone.errors == [] and phone.line is None


def test_stop_reaches_a_server_that_reads_late_and_is_still_speaking() -> None:
    def script(talk: Talk) -> None:
        talk.ws.sock = Unread(talk.ws.sock)
        talk.next()  # the last one that is read for now
        talk.send("mark", mark={"name": "now"})
        phone.wait_until_over()
        for _ in range(20):
            talk.play(encode_speech("Too late"))
        talk.ws.sock.read.set()
        listen(talk)

    with ScriptedServer({VOICE: STREAM}, script) as server:
        phone = phone_to(server.url)
        phone.dial()
        phone.wait_for("mark")
        phone.hang_up()
        server.talks[0].over.wait(5)
    assert server.talks[0].messages[-1]["event"] == "stop"
    assert phone.heard == []


def test_a_dropped_stream_ends_without_stop_and_the_call_goes_on() -> None:
    with ScriptedServer({VOICE: STREAM + "<Say>Back</Say>"}, listen) as server:
        phone = phone_to(server.url)
        phone.dial()
        phone.wait_until_stream()
        phone.drop()
        phone.wait_until_over()
        assert phone.said == ["Back"]
        assert server.talks[0].all("stop") == []


def test_a_refused_upgrade_is_told_and_the_next_verb_runs() -> None:
    document = STREAM.replace("<Stream", "<Stream statusCallback='https://voice.example.com/stream-status'")
    with ScriptedServer({VOICE: document + "<Say>Sorry</Say>"}, refuse_stream=403) as server:
        phone = phone_to(server.url)
        phone.dial()
        phone.wait_until_over()
    assert (phone.said, [error.code for error in phone.errors]) == (["Sorry"], [31920])
    (told,) = [form for form in server.forms if form["path"] == "/stream-status"]
    assert (told["StreamEvent"], told["CallSid"]) == ("stream-error", phone.call_sid)
    assert "HTTP 403" in told["StreamError"]


@pytest.mark.parametrize(
    ("url", "code"), [("https://voice.example.com/stream", 31922), ("wss://elsewhere.example.com/stream", 31901)]
)
def test_a_stream_address_that_twilio_could_not_use(url: str, code: int) -> None:
    with ScriptedServer({VOICE: f"<Connect><Stream url='{url}'/></Connect>"}, listen) as server:
        phone = phone_to(server.url)
        phone.dial()
        phone.wait_until_over()
    assert [error.code for error in phone.errors] == [code]


def test_a_query_in_the_stream_address_is_dropped_with_a_warning() -> None:
    with ScriptedServer({VOICE: "<Connect><Stream url='wss://voice.example.com/stream?token=1'/></Connect>"}) as server:
        phone = phone_to(server.url)
        phone.dial()
        phone.wait_until_over()
    assert len(server.talks) == 1
    assert [warning.code for warning in phone.warnings] == [31920]


def test_stream_callbacks_and_the_action_of_connect() -> None:
    document = STREAM.replace("<Connect>", "<Connect action='/after'>").replace(
        "<Stream", "<Stream name='s1' statusCallback='/stream-status'"
    )
    with ScriptedServer({VOICE: document + "<Say>not reached</Say>", "/after": "<Say>After</Say>"}) as server:
        phone = phone_to(server.url)
        phone.dial()
        phone.wait_until_over()
    told = [form for form in server.forms if form["path"] == "/stream-status"]
    assert {(form["StreamEvent"], form["StreamName"]) for form in told} == {
        ("stream-started", "s1"),
        ("stream-stopped", "s1"),
    }
    assert phone.said == ["After"]


def test_a_server_that_does_not_read_loses_caller_audio_and_holds_nobody_up() -> None:
    def script(talk: Talk) -> None:
        if len(server.talks) == 1:
            talk.ws.sock = Unread(talk.ws.sock)
        listen(talk)

    with ScriptedServer({VOICE: STREAM}, script) as server:
        stalled, other = phone_to(server.url), phone_to(server.url)
        stalled.dial()
        stalled.wait_for(lambda: len(server.talks) == 1 and server.talks[0].messages[1:])
        # More than the sockets' buffers hold.
        stalled.press("1" * 60_000)
        stalled.wait_for("warning")
        other.dial()
        assert other.say("I am not held up")
        assert [warning.code for warning in stalled.warnings][0] == 31930
        assert other.warnings == []
        stalled.drop(and_hang_up=True)
        other.hang_up()
        other.wait_until_over()
        stalled.wait_until_over()


# Waiting and recording


def test_waiting_in_vain_tells_what_happened_instead() -> None:
    with ScriptedServer({VOICE: STREAM}, listen) as server:
        with phone_to(server.url) as phone:
            phone.wait_until_stream()
            with pytest.raises(PhoneTimeout, match=r"(?s)not heard: 'never'.*sent +start MZ"):
                phone.wait_until_heard("never", timeout=0.1)
        with pytest.raises(PhoneTimeout, match="the call is over"):
            phone.wait_until_heard("never", timeout=60)


def test_waiting_until_the_agent_is_silent() -> None:
    def script(talk: Talk) -> None:
        talk.play(encode_speech("Ten words"))
        listen(talk)

    with ScriptedServer({VOICE: STREAM}, script) as server:
        with phone_to(server.url) as phone:
            phone.wait_for("media")
            phone.wait_until_silent(100)
            assert phone.heard[0].complete


def test_a_call_is_saved_as_stereo_sound(tmp_path: Path) -> None:
    def script(talk: Talk) -> None:
        talk.play(encode_speech("Agent"), "end")
        talk.read_until(lambda message: message["event"] == "mark")

    with ScriptedServer({VOICE: STREAM}, script) as server:
        phone = phone_to(server.url, voice=lambda words: encode_speech(words, 9))
        phone.dial()
        phone.say("Caller")
        phone.wait_until_over()
    phone.save(tmp_path / "call.wav")
    with wave.open(str(tmp_path / "call.wav")) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 8000, 2)
        sound = memoryview(file.readframes(file.getnframes())).cast("h")
    left, right = sound[0::2].tolist(), sound[1::2].tolist()
    heard = phone.heard[0]
    assert any(left) and any(right)
    assert not any(right[: int(heard.start_ms * 8)]) and any(right[int(heard.start_ms * 8) :][:160])
    assert not any(right[int(heard.end_ms * 8) + 1 :])


def test_without_keeping_audio_words_are_heard_all_the_same() -> None:
    def script(talk: Talk) -> None:
        talk.play(encode_speech("Still heard"), "end")
        talk.read_until(lambda message: message["event"] == "mark")

    with ScriptedServer({VOICE: STREAM}, script) as server:
        phone = phone_to(server.url, keep_audio=False)
        phone.dial()
        phone.wait_until_over()
    assert (phone.heard_text, len(phone.sent)) == ("Still heard", 0)
    assert phone.sent_frames >= 30


def test_only_plain_http_servers_can_be_called() -> None:
    with pytest.raises(ValueError, match="http://host:port"):
        phone_to("https://voice.example.com")
