"""The transcriber's stand-in, judged by the openai SDK's types and by two WebSocket libraries."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import websocket
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.sync.client import connect

from tests.sandbox.clients import SILENCE_500_MS, Client, Transcription, until
from voice.core.audio import To24k
from voice.sandbox import faults
from voice.sandbox.coded_speech import encode_speech
from voice.sandbox.served_socket import ServedSocket
from voice.sandbox.stand_ins import Sandbox

LIVE = "gpt-live-transcribe"
OLDER = "gpt-4o-transcribe"
VAD = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 200, "silence_duration_ms": 300}
EVENT: TypeAdapter[object] = TypeAdapter(RealtimeServerEvent)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Transcription:
    return Transcription(sandbox)


def test_a_turn_of_a_live_model_comes_in_the_documented_order(sandbox: Sandbox, client: Transcription) -> None:
    client.configure(LIVE)
    client.say("What are your opening hours?")
    client.commit()
    final = client.completed()
    assert final["transcript"] == "What are your opening hours?" == client.told(final["item_id"])
    types = [message["type"].removeprefix("conversation.item.") for message in client.received]
    assert types[:2] == ["session.created", "session.updated"]
    assert types.index("input_audio_transcription.delta") < types.index("input_audio_buffer.committed")
    assert types[types.index("input_audio_buffer.committed") + 1 :][:2] == ["added", "done"]
    assert final["usage"] == {"type": "duration", "seconds": 1.68}
    assert sandbox.openai.sessions[0].audio == encode_speech("What are your opening hours?")
    assert sandbox.openai.sessions[0].finals == ["What are your opening hours?"]


def test_every_event_is_what_the_sdk_says_it_is(client: Transcription) -> None:
    client.configure(OLDER, VAD)
    client.say("Hello there.")
    client.append(SILENCE_500_MS)
    client.completed()
    client.update(type_="realtime")
    client.send(type="input_audio_buffer.clear")
    client.until_type("input_audio_buffer.cleared")
    kinds = {message["type"]: type(EVENT.validate_python(message, strict=True)).__name__ for message in client.received}
    assert kinds == {
        "session.created": "SessionCreatedEvent",
        "session.updated": "SessionUpdatedEvent",
        "input_audio_buffer.speech_started": "InputAudioBufferSpeechStartedEvent",
        "input_audio_buffer.speech_stopped": "InputAudioBufferSpeechStoppedEvent",
        "input_audio_buffer.committed": "InputAudioBufferCommittedEvent",
        "input_audio_buffer.cleared": "InputAudioBufferClearedEvent",
        "conversation.item.added": "ConversationItemAdded",
        "conversation.item.done": "ConversationItemDone",
        "conversation.item.input_audio_transcription.delta": "ConversationItemInputAudioTranscriptionDeltaEvent",
        "conversation.item.input_audio_transcription.completed": (
            "ConversationItemInputAudioTranscriptionCompletedEvent"
        ),
        "error": "RealtimeErrorEvent",
    }
    assert len({message["event_id"] for message in client.received}) == len(client.received)


def test_the_session_describes_its_whole_configuration(client: Transcription) -> None:
    client.update(
        format={"type": "audio/pcmu"}, transcription={"model": LIVE, "languages": ["en"]}, turn_detection=None
    )
    client.until_type("session.updated")
    client.update(transcription={"model": LIVE, "keywords": ["AC-42"]}, noise_reduction={"type": "near_field"})
    session = client.until_type("session.updated")["session"]
    assert session["type"] == "transcription" and session["object"] == "realtime.transcription_session"
    assert session["audio"]["input"] == {
        "format": {"type": "audio/pcmu"},
        "noise_reduction": {"type": "near_field"},
        "transcription": {"model": LIVE, "languages": ["en"], "keywords": ["AC-42"]},
        "turn_detection": None,
    }


def test_the_other_websocket_library_is_served_too(sandbox: Sandbox) -> None:
    environment = sandbox.environment()
    headers = {"Authorization": f"Bearer {environment['OPENAI_API_KEY']}"}
    with connect(environment["OPENAI_REALTIME_URL"] + "?intent=transcription", additional_headers=headers) as socket:
        assert orjson.loads(socket.recv())["type"] == "session.created"
        assert socket.ping().wait(2)
        socket.send(['{"type":', '"input_audio_buffer.clear"}'])
        assert orjson.loads(socket.recv())["type"] == "input_audio_buffer.cleared"
    until(lambda: sandbox.openai.sessions[0].closed)
    assert sandbox.openai.sessions[0].close_code == 1000


# Refusals


@pytest.mark.parametrize(
    ("query", "key", "headers", "error", "close"),
    [
        ("?intent=transcription", "wrong", [], "invalid_api_key", 3000),
        ("?intent=transcription", "", ["OpenAI-Beta: realtime=v1"], "beta_api_shape_disabled", 4000),
        ("", "", [], "missing_model", 4000),
    ],
)
def test_a_bad_handshake_succeeds_and_is_then_closed(
    sandbox: Sandbox, query: str, key: str, headers: list[str], error: str, close: int
) -> None:
    client = Transcription(sandbox, query, key, *headers)
    assert client.to_the_end()[0] == close
    assert [message["error"]["code"] for message in client.received] == [error]
    until(lambda: sandbox.openai.sessions[0].close_code == close)


def test_a_model_in_the_url_makes_a_session_that_refuses_transcription(sandbox: Sandbox) -> None:
    client = Transcription(sandbox, f"?intent=transcription&model={LIVE}")
    client.update(transcription={"model": LIVE})
    assert client.until_type("error")["error"]["code"] == "invalid_model"


@pytest.mark.parametrize(
    ("audio_input", "param"),
    [
        ({"transcription": {"model": LIVE}, "turn_detection": VAD}, "turn_detection"),
        ({"transcription": {"model": "gpt-realtime-whisper"}, "turn_detection": VAD}, "turn_detection"),
        (
            {"transcription": {"model": "gpt-transcribe", "language": "en", "languages": ["en"]}},
            "transcription.languages",
        ),
        ({"transcription": {"model": LIVE, "keywords": ["a<b"]}}, "transcription.keywords"),
        ({"transcription": {"model": LIVE, "keywords": ["two\nlines"]}}, "transcription.keywords"),
        ({"transcription": {"model": LIVE, "languages": []}}, "transcription.languages"),
        ({"transcription": {"model": LIVE, "language": "en"}}, "transcription.language"),
        ({"transcription": {"model": "gpt-realtime-whisper", "prompt": "names"}}, "transcription.prompt"),
        ({"transcription": {"model": OLDER, "delay": "low"}}, "transcription.delay"),
        ({"transcription": {"model": LIVE, "delay": "none"}}, "transcription.delay"),
        ({"transcription": {"model": "gpt-5-transcribe"}}, "transcription.model"),
        ({"transcription": {"model": OLDER}, "turn_detection": {"type": "semantic_vad"}}, "turn_detection.type"),
        ({"transcription": {"model": OLDER}, "turn_detection": {**VAD, "threshold": 2}}, "turn_detection.threshold"),
        ({"format": {"type": "audio/pcm", "rate": 16000}}, "format.rate"),
        ({"format": {"type": "audio/pcmu", "rate": 8000}}, "format.rate"),
        ({"noise_reduction": {"type": "telephone"}}, "noise_reduction.type"),
        ({"voice": "alloy"}, "voice"),
    ],
)
def test_a_bad_update_is_refused_by_name_and_changes_nothing(
    sandbox: Sandbox, client: Transcription, audio_input: dict[str, Any], param: str
) -> None:
    before = client.until_type("session.created")["session"]["audio"]
    client.update(**audio_input)
    error = client.until_type("error")["error"]
    assert (error["param"], error["event_id"]) == (f"session.audio.input.{param}", "mine")
    client.update(type_="transcription")
    assert client.until_type("session.updated")["session"]["audio"] == before
    assert sandbox.openai.sessions[0].errors == [error["code"]]


@pytest.mark.parametrize("model", [LIVE, "gpt-realtime-whisper"])
def test_delay_is_taken_where_speech_is_told_live(client: Transcription, model: str) -> None:
    client.update(transcription={"model": model, "delay": "minimal"})
    assert client.until_type("session.updated")["session"]["audio"]["input"]["transcription"]["delay"] == "minimal"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_event"),
        ("[1]", "invalid_event"),
        ('{"type":"response.create"}', "invalid_value"),
        ('{"type":"input_audio_buffer.append","audio":"%%%"}', "invalid_value"),
        ('{"type":"input_audio_buffer.append"}', "invalid_value"),
        ('{"type":"session.update"}', "invalid_type"),
    ],
)
def test_nonsense_is_answered_and_the_session_goes_on(client: Transcription, message: str, code: str) -> None:
    client.socket.send(message)
    assert client.until_type("error")["error"]["code"] == code
    client.configure(LIVE)


def test_less_than_100_ms_cannot_be_committed(sandbox: Sandbox, client: Transcription) -> None:
    client.configure(LIVE)
    client.append(b"\xff" * 792)
    client.commit()
    assert client.until_type("error")["error"]["code"] == "input_audio_buffer_commit_empty"
    client.append(b"\xff" * 8)
    client.commit()
    assert client.completed()["transcript"] == ""
    assert sandbox.openai.sessions[0].commits == 1


# Hearing


def test_deltas_come_while_the_caller_speaks(client: Transcription) -> None:
    client.configure(LIVE)
    speech = encode_speech("Hello dear clinic")
    client.append(speech[:3360])
    delta = client.until_type("conversation.item.input_audio_transcription.delta")
    assert delta["delta"] == "Hello"
    client.append(speech[3360:])
    assert [client.receive()["delta"] for _ in range(2)] == [" dear", " clinic"]
    client.commit()
    assert client.until_type("input_audio_buffer.committed")["item_id"] == delta["item_id"]


def test_older_models_tell_it_after_the_commit(client: Transcription) -> None:
    client.configure(OLDER)
    client.say("Hello there")
    client.commit()
    final = client.completed()
    types = [message["type"] for message in client.received]
    delta = "conversation.item.input_audio_transcription.delta"
    assert types.index("input_audio_buffer.committed") < types.index(delta)
    assert client.told(final["item_id"]) == "Hello there"


@pytest.mark.parametrize("step", [160, 320, 1000, 37])
def test_pieces_of_any_size_carry_the_words(client: Transcription, step: int) -> None:
    client.configure(LIVE)
    client.append(b"\xff" * 77 + encode_speech("Hello there.") + b"\xff" * 333 + encode_speech("Again."), step)
    client.commit()
    assert client.completed()["transcript"] == "Hello there. Again."


@pytest.mark.parametrize("before_connecting", [b"", b"\xd0" * 160])
def test_pcm_at_24_khz_is_brought_back_to_the_same_mu_law(
    sandbox: Sandbox, client: Transcription, before_connecting: bytes
) -> None:
    converter = To24k()
    converter.convert(before_connecting)
    client.configure(LIVE, format_={"type": "audio/pcm", "rate": 24000})
    speech = b"\xff" * 320 + encode_speech("Where are you located?") + b"\xff" * 160
    for place in range(0, len(speech), 160):
        client.append(converter.convert(speech[place : place + 160]), 1000)
    client.commit()
    assert client.completed()["transcript"] == "Where are you located?"
    assert abs(len(sandbox.openai.sessions[0].audio) - len(speech)) <= 1


def test_server_vad_finds_the_utterance_and_commits_it(client: Transcription) -> None:
    client.configure(OLDER, VAD)
    speech = encode_speech("Monday please.")
    client.append(SILENCE_500_MS + speech + SILENCE_500_MS)
    final = client.completed()
    started = next(m for m in client.received if m["type"].endswith("speech_started"))
    stopped = next(m for m in client.received if m["type"].endswith("speech_stopped"))
    assert final["transcript"] == "Monday please."
    assert started["item_id"] == stopped["item_id"] == final["item_id"]
    assert started["audio_start_ms"] == 500 - VAD["prefix_padding_ms"]  # type: ignore[operator]
    assert stopped["audio_end_ms"] == 500 + len(speech) // 8 + VAD["silence_duration_ms"]  # type: ignore[operator]


def test_server_vad_waits_out_short_pauses_and_is_deaf_below_its_threshold(client: Transcription) -> None:
    client.configure(OLDER, VAD)
    client.append(b"\xff" * 2000 + encode_speech("Yes") + b"\xff" * 1600 + encode_speech("please") + SILENCE_500_MS)
    assert client.completed()["transcript"] == "Yes please"
    client.configure(OLDER, {**VAD, "threshold": 1})
    # A square wave of 500: above the limit of threshold 0.5, below that of 1.
    client.append((b"\xd7" * 4 + b"\x57" * 4) * 500 + SILENCE_500_MS)
    client.send(type="input_audio_buffer.clear")
    client.until_type("input_audio_buffer.cleared")
    assert [m["type"].rpartition(".")[2] for m in client.received].count("speech_started") == 1


def test_a_click_is_no_speech(client: Transcription) -> None:
    client.configure(OLDER, VAD)
    speech = encode_speech("Yes.")
    client.append(SILENCE_500_MS + speech[:320] + SILENCE_500_MS + speech[:480] + SILENCE_500_MS)
    client.completed()
    started = [m["audio_start_ms"] for m in client.received if m["type"].endswith("speech_started")]
    assert started == [500 + 40 + 500 - 200], "the 40 ms of sound started nothing, the 60 ms did"


def test_gpt_transcribe_with_server_vad_still_needs_a_commit(client: Transcription) -> None:
    client.configure("gpt-transcribe", VAD)
    client.append(encode_speech("Hello.") + SILENCE_500_MS)
    client.commit()
    assert client.completed()["transcript"] == "Hello."
    assert not [m for m in client.received if "speech_" in m["type"]]


def test_items_are_chained_in_order(client: Transcription) -> None:
    client.configure(LIVE)
    committed = []
    for text in ("One.", "Two.", "Three."):
        client.say(text)
        client.commit()
        committed.append(client.until_type("input_audio_buffer.committed"))
    assert [item["previous_item_id"] for item in committed] == [None, *(item["item_id"] for item in committed[:2])]
    finals = [message for message in client.received if message["type"].endswith("completed")]
    finals += [client.completed() for _ in range(3 - len(finals))]
    assert [(f["item_id"], f["transcript"]) for f in finals] == list(
        zip([item["item_id"] for item in committed], ["One.", "Two.", "Three."], strict=True)
    )


def test_an_update_loses_what_the_buffer_held(client: Transcription) -> None:
    client.configure(LIVE)
    client.say("This is lost.")
    client.configure(LIVE)
    client.say("This is not.")
    client.commit()
    assert client.completed()["transcript"] == "This is not."


def test_without_keep_audio_only_the_count_is_kept(sandbox: Sandbox) -> None:
    sandbox.openai.keep_audio = False
    client = Transcription(sandbox)
    client.configure(LIVE)
    client.say("Hello.")
    client.commit()
    assert client.completed()["transcript"] == "Hello."
    session = sandbox.openai.sessions[0]
    assert (session.audio, session.audio_ms, session.appends) == (b"", 360, 18)


def test_a_session_ends_of_old_age(sandbox: Sandbox) -> None:
    sandbox.openai.session_s = 0.05
    client = Transcription(sandbox)
    assert client.to_the_end() == (1001, "Your session hit the maximum duration of 60 minutes.")
    assert client.received[-1]["error"]["code"] == "session_expired"


# Faults


def committed_turn(client: Transcription) -> None:
    client.configure(LIVE)
    client.say("Hello.")
    client.commit()


def test_a_refused_upgrade(sandbox: Sandbox) -> None:
    sandbox.openai.faults.append(faults.RefuseUpgrade(503, b"busy"))
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        Transcription(sandbox)
    assert (refused.value.status_code, refused.value.resp_body) == (503, b"busy")
    Transcription(sandbox).configure(LIVE)


def test_an_upgrade_that_is_never_answered(sandbox: Sandbox) -> None:
    sandbox.openai.faults.append(faults.NeverAnswer())
    with pytest.raises(websocket.WebSocketTimeoutException):
        url = sandbox.environment()["OPENAI_REALTIME_URL"]
        websocket.create_connection(url + "?intent=transcription", timeout=0.1)


def test_an_error_in_the_place_of_updated(sandbox: Sandbox, client: Transcription) -> None:
    sandbox.openai.faults.append(faults.ErrorAfterUpdate("insufficient_quota"))
    client.update(transcription={"model": LIVE}, turn_detection=None)
    assert client.until_type("error")["error"]["code"] == "insufficient_quota"
    assert sandbox.openai.sessions[0].config["transcription"] is None


def test_no_final_then_the_next_one_comes(sandbox: Sandbox, client: Transcription) -> None:
    sandbox.openai.faults.append(faults.NoFinal())
    committed_turn(client)
    until(lambda: not sandbox.openai.faults)
    client.say("Again.")
    client.commit()
    assert client.completed()["transcript"] == "Again."


def test_a_late_final(sandbox: Sandbox, client: Transcription) -> None:
    sandbox.openai.faults.append(faults.LateFinal(0.2))
    committed_turn(client)
    client.until_type("input_audio_buffer.committed")
    began = time.monotonic()
    client.completed()
    assert time.monotonic() - began > 0.2


def test_a_failed_transcript(sandbox: Sandbox, client: Transcription) -> None:
    sandbox.openai.faults.append(faults.FailedFinal("audio_unintelligible"))
    committed_turn(client)
    failed = client.until_type("conversation.item.input_audio_transcription.failed")
    assert failed["error"]["code"] == "audio_unintelligible"
    EVENT.validate_python(failed, strict=True)


@pytest.mark.parametrize("raw", ["{not json", "null", "[1,2]", '{"type":"session.surprise"}'])
def test_anything_may_come_before_a_final(sandbox: Sandbox, client: Transcription, raw: str) -> None:
    sandbox.openai.faults.append(faults.BeforeFinal(raw))
    committed_turn(client)
    seen = []
    while '"transcript":"Hello."' not in (message := client.socket.recv()):
        seen.append(message)
    assert seen[-1] == raw


@pytest.mark.parametrize("moment", ["update", "append", "commit"])
def test_the_connection_is_reset(sandbox: Sandbox, client: Transcription, moment: faults.Moment) -> None:
    sandbox.openai.faults.append(faults.DropAt(moment))
    with pytest.raises((ConnectionResetError, BrokenPipeError, websocket.WebSocketConnectionClosedException)):
        committed_turn(client)
        client.completed()
    until(lambda: sandbox.openai.sessions[0].closed)
    assert sandbox.openai.sessions[0].close_code == 1006


@pytest.mark.parametrize("moment", ["connect", "update", "append", "commit"])
def test_the_socket_is_closed_with_a_code(sandbox: Sandbox, moment: faults.Moment) -> None:
    sandbox.openai.faults.append(faults.CloseAt(moment, 1011, "internal error"))
    client = Transcription(sandbox)
    client.update(format={"type": "audio/pcmu"}, transcription={"model": LIVE}, turn_detection=None)
    client.say("Hi")
    client.commit()
    assert client.to_the_end() == (1011, "internal error")


# Life


def test_a_client_that_vanishes_is_noticed(sandbox: Sandbox, client: Transcription) -> None:
    client.configure(LIVE)
    client.vanish()
    until(lambda: sandbox.openai.sessions[0].closed)
    assert sandbox.openai.sessions[0].close_code == 1006


def test_a_client_close_code_is_recorded(sandbox: Sandbox, client: Transcription) -> None:
    client.socket.close(status=4321)
    until(lambda: sandbox.openai.sessions[0].close_code == 4321)


def test_stop_cuts_every_socket_and_start_keeps_the_port() -> None:
    sandbox = Sandbox()
    sandbox.start()
    url, client = sandbox.environment()["OPENAI_REALTIME_URL"], Transcription(sandbox)
    client.configure(LIVE)
    sandbox.stop()
    with pytest.raises((OSError, EOFError, websocket.WebSocketException)):
        client.receive()
    with pytest.raises(ConnectionRefusedError):
        Client(url, [])
    with sandbox:
        assert sandbox.environment()["OPENAI_REALTIME_URL"] == url
        Transcription(sandbox).configure(LIVE)


def test_a_socket_that_was_dropped_while_its_reader_was_busy_is_over() -> None:
    ours, peer = socket.socketpair()
    served = ServedSocket(ours)
    served.drop()
    assert served.receive() is None
    peer.close()
