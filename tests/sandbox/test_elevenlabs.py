"""The synthesizer's stand-in, judged by the elevenlabs SDK (types, HTTP client) and by two WebSocket libraries."""

import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import websocket
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError
from elevenlabs.types import AudioOutputMulti, FinalOutputMulti
from websockets.sync.client import connect

from tests.sandbox.clients import Message, Synthesis, audio_of, until
from voice.sandbox import faults
from voice.sandbox.coded_speech import encode_speech, frames, text_of
from voice.sandbox.delays import Delays
from voice.sandbox.stand_ins import Sandbox

SCHEDULED = Synthesis.QUERY.replace("auto_mode=true", "auto_mode=false")
SETTINGS = {"stability": 0.5, "speed": 1.0}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Synthesis:
    return Synthesis(sandbox)


def sdk(sandbox: Sandbox) -> ElevenLabs:
    environment = sandbox.environment()
    return ElevenLabs(api_key=environment["ELEVENLABS_API_KEY"], base_url=environment["ELEVENLABS_BASE_URL"])


def speak(client: Synthesis, context_id: str, text: str) -> list[Message]:
    """A whole context as a careful client does it: closed only after its first audio."""
    client.send(text=" ", context_id=context_id, voice_settings=SETTINGS)
    client.send(text=text, context_id=context_id, flush=True)
    client.receive_until(lambda message: message.get("contextId") == context_id)
    client.send(context_id=context_id, close_context=True)
    return client.until_final(context_id)


# Speech


def test_a_context_speaks_what_it_was_sent(sandbox: Sandbox, client: Synthesis) -> None:
    messages = speak(client, "t1", "We open at nine in the morning. ")
    audio = audio_of(messages)
    assert text_of(audio) == "We open at nine in the morning."
    assert [frame.index for frame in frames(audio)] == list(range(len(frames(audio)))), "whole and in order"
    socket = sandbox.elevenlabs.sockets[0]
    context = socket.context("t1")
    assert (context.text, context.flushes, context.closed) == ("We open at nine in the morning. ", 1, True)
    assert context.audio_ms == len(audio) / 8
    assert (socket.voice_id, socket.query["model_id"], context.first["voice_settings"]) == (
        "ada",
        "eleven_flash_v2_5",
        SETTINGS,
    )
    assert socket.headers["xi-api-key"] == sandbox.elevenlabs.api_key


def test_every_message_is_what_the_sdk_says_it_is(client: Synthesis) -> None:
    *spoken, final = speak(client, "t1", "Good morning. ")
    for message in (AudioOutputMulti.model_validate(message) for message in spoken):
        assert message.audio and message.context_id == "t1" and not message.model_extra
        assert message.alignment and message.alignment.chars and message.alignment.char_durations_ms
        assert message.normalized_alignment and message.normalized_alignment.char_start_times_ms
    last = FinalOutputMulti.model_validate(final)
    assert (final["isFinal"], last.context_id, last.model_extra) == (True, "t1", {}), "no name that the SDK lacks"


def test_messages_are_200_to_500_ms_and_their_times_restart(client: Synthesis) -> None:
    *spoken, _ = speak(client, "t1", "We open at nine in the morning, dear caller. ")
    lengths = [len(audio_of([message])) / 8 for message in spoken]
    assert all(200 <= ms <= 500 for ms in lengths[:-1]) and len(lengths) > 5
    offset, chars = 0.0, []
    for message, ms in zip(spoken, lengths, strict=True):
        alignment = message["alignment"]
        assert all(0 <= start < ms for start in alignment["charStartTimesMs"])
        chars += [
            (c, offset + start) for c, start in zip(alignment["chars"], alignment["charStartTimesMs"], strict=True)
        ]
        offset += ms
    assert "".join(char for char, _ in chars) == "We open at nine in the morning, dear caller. "
    assert [start for _, start in chars] == [60 * place for place in range(len(chars))]


def test_without_sync_alignment_there_is_none(sandbox: Sandbox) -> None:
    client = Synthesis(sandbox, Synthesis.QUERY.replace("&sync_alignment=true", ""))
    *spoken, _ = speak(client, "t1", "Good morning. ")
    assert {message["alignment"] for message in spoken} == {None}


def test_final_comes_after_close_not_after_flush(client: Synthesis) -> None:
    client.send(text="Hello. ", context_id="a", flush=True)
    audio = client.receive()["audio"]
    speak(client, "b", "Something longer than that. ")
    assert audio and not [m for m in client.received if m.get("isFinal") and m["contextId"] == "a"]
    client.send(context_id="a", close_context=True)
    client.until_final("a")


def test_flushed_text_is_spoken_after_close_and_unflushed_text_is_not(client: Synthesis) -> None:
    client.send(text="This is said. ", context_id="t1", flush=True)
    client.send(text="Thisisnot", context_id="t1")
    client.send(context_id="t1", close_context=True)
    assert text_of(audio_of(client.until_final("t1"))) == "This is said."


def test_auto_mode_speaks_whole_words_at_once(sandbox: Sandbox, client: Synthesis) -> None:
    client.send(text="Good morn", context_id="t1")
    assert text_of(audio_of([client.receive()])) == "Good"
    client.send(text="ing. ", context_id="t1")
    client.receive()
    assert sandbox.elevenlabs.sockets[0].context("t1").spoken == ["Good ", "morning. "]


def test_without_auto_mode_the_schedule_holds_text_back(sandbox: Sandbox) -> None:
    client = Synthesis(sandbox, SCHEDULED)
    client.send(text=" ", context_id="t1", generation_config={"chunk_length_schedule": [50, 80]})
    words = " ".join(["one two three four five six seven eight nine ten eleven twelve"] * 3) + " "
    for word in words.split():
        client.send(text=word + " ", context_id="t1")
    client.send(context_id="t1", flush=True)
    client.send(context_id="t1", close_context=True)
    assert text_of(audio_of(client.until_final("t1"))) == words.strip()
    spoken = sandbox.elevenlabs.sockets[0].context("t1").spoken
    assert [50 <= len(text) < 57 for text in spoken] == [True, False, False]
    assert 80 <= len(spoken[1]) < 87 and "".join(spoken) == words


def test_contexts_speak_side_by_side(client: Synthesis) -> None:
    for name in "abcde":
        client.send(text=f"I am the voice of context {name}. ", context_id=name, flush=True)
        client.send(context_id=name, close_context=True)
    client.receive_until(lambda _: sum("isFinal" in message for message in client.received) == 5)
    for name in "abcde":
        mine = [message for message in client.received if message["contextId"] == name]
        assert text_of(audio_of(mine)) == f"I am the voice of context {name}."


def test_punctuation_alone_makes_no_sound(client: Synthesis) -> None:
    client.send(text="... ", context_id="t1", flush=True)
    client.send(context_id="t1", close_context=True)
    assert audio_of(client.until_final("t1")) == b""


def test_synthesis_keeps_its_pace() -> None:
    with Sandbox(delays=Delays(first_audio_ms=100, audio_speed=4)) as sandbox:
        client = Synthesis(sandbox)
        client.send(text="Twenty characters!!! ", context_id="t1", flush=True)
        began = time.monotonic()
        client.receive()
        assert time.monotonic() - began > 0.095
        client.send(context_id="t1", close_context=True)
        client.until_final("t1")
        assert 0.1 + 1.26 / 4 - 0.1 < time.monotonic() - began < 1.26, "faster than speech, slower than at once"


# The rules of the socket


def test_a_sixth_context_ends_the_socket(sandbox: Sandbox, client: Synthesis) -> None:
    for name in "abcdef":
        client.send(text=" ", context_id=name)
    assert client.to_the_end()[0] == 1008
    assert client.received[-1]["error"] == "max_active_conversations" == sandbox.elevenlabs.sockets[0].close_error


def test_a_finished_context_makes_room_and_its_id_is_new_again(sandbox: Sandbox, client: Synthesis) -> None:
    for _ in range(7):
        speak(client, "same", "Hello. ")
    assert len(sandbox.elevenlabs.sockets[0].contexts) == 7


def test_settings_after_the_first_message_end_the_socket(client: Synthesis) -> None:
    client.send(text="", context_id="t1")
    client.send(text=" ", context_id="t1", voice_settings=SETTINGS)
    code, reason = client.to_the_end()
    assert code == 1008 and reason.startswith("voice_settings field must be provided in the first message")


def test_settings_that_do_not_change_are_no_offence(client: Synthesis) -> None:
    client.send(text=" ", context_id="t1", voice_settings=SETTINGS)
    client.send(text="Hello. ", context_id="t1", voice_settings=SETTINGS, flush=True)
    assert client.receive()["audio"]


def test_an_idle_socket_is_closed(sandbox: Sandbox) -> None:
    client = Synthesis(sandbox, Synthesis.QUERY + "&inactivity_timeout=1")
    began = time.monotonic()
    assert client.to_the_end()[0] == 1008
    assert client.received[-1]["error"] == "input_timeout_exceeded"
    assert 0.95 < time.monotonic() - began < 1.5


def test_a_keep_alive_keeps_the_socket_but_not_the_idle_context(sandbox: Sandbox) -> None:
    client = Synthesis(sandbox, Synthesis.QUERY + "&inactivity_timeout=1")
    client.send(text="Hello. ", context_id="t1", flush=True)
    began = time.monotonic()
    client.socket.settimeout(0.3)
    while time.monotonic() - began < 1.5:
        client.send(text="")
        try:
            client.receive()
        except websocket.WebSocketTimeoutException:
            continue
    assert client.received[-1] == {"isFinal": True, "contextId": "t1"}
    assert sandbox.elevenlabs.sockets[0].keep_alives >= 4
    assert not sandbox.elevenlabs.sockets[0].closed


@pytest.mark.parametrize("message", ["{", "[]", '{"text":5,"context_id":"a"}', '{"text":"Hi "}', '{"context_id":7}'])
def test_an_invalid_message_ends_the_socket(client: Synthesis, message: str) -> None:
    client.socket.send(message)
    assert client.to_the_end()[0] == 1008
    assert client.received[-1]["error"] == "invalid_input_message"


def test_close_socket_lets_everybody_finish(client: Synthesis) -> None:
    client.send(text="The last words. ", context_id="t1", flush=True)
    client.send(close_socket=True)
    assert client.to_the_end()[0] == 1000
    assert text_of(audio_of(client.received)) == "The last words."


def test_closing_a_context_that_is_over_is_no_offence(client: Synthesis) -> None:
    client.send(context_id="never", close_context=True)
    speak(client, "t1", "Hello. ")
    client.send(context_id="t1", close_context=True)
    assert text_of(audio_of(speak(client, "t2", "Still here. "))) == "Still here."


@pytest.mark.parametrize(
    "query",
    [
        Synthesis.QUERY.replace("ulaw_8000", "mp3_44100_128"),
        Synthesis.QUERY.replace("&output_format=ulaw_8000", ""),
        Synthesis.QUERY.replace("flash_v2_5", "v3"),
        Synthesis.QUERY.replace("flash_v2_5", "v4_turbo"),
        Synthesis.QUERY.replace("flash_v2_5", "multilingual_v2") + "&language_code=en",
        Synthesis.QUERY + "&inactivity_timeout=181",
    ],
)
def test_a_query_that_cannot_be_served(sandbox: Sandbox, query: str) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        Synthesis(sandbox, query)
    assert refused.value.status_code == 400
    assert set(orjson.loads(refused.value.resp_body or b"")["detail"]) == {"status", "message"}


def test_a_bad_key_is_refused_at_the_handshake_or_after_it(sandbox: Sandbox) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        Synthesis(sandbox, key="wrong")
    assert refused.value.status_code == 401
    sandbox.elevenlabs.bad_key_is_1008 = True
    client = Synthesis(sandbox, key="wrong")
    assert client.to_the_end() == (1008, "Invalid API key")


def test_the_other_websocket_library_is_served_too(sandbox: Sandbox) -> None:
    url = sandbox.environment()["ELEVENLABS_BASE_URL"].replace("http", "ws")
    url += f"/v1/text-to-speech/ben/multi-stream-input?{Synthesis.QUERY}"
    with connect(url, additional_headers={"xi-api-key": sandbox.elevenlabs.api_key}) as socket:
        socket.send('{"text":"Hello. ","context_id":"t1","flush":true}')
        assert orjson.loads(socket.recv())["contextId"] == "t1"
    until(lambda: sandbox.elevenlabs.sockets[0].close_code == 1000)


# HTTP


def test_the_sdk_streams_over_http(sandbox: Sandbox) -> None:
    stream = sdk(sandbox).text_to_speech.stream(
        "ada", text="Hello over HTTP.", model_id="eleven_flash_v2_5", output_format="ulaw_8000"
    )
    assert b"".join(stream) == encode_speech("Hello over HTTP.", tag=1)


def test_the_sdk_looks_itself_up(sandbox: Sandbox) -> None:
    client = sdk(sandbox)
    assert client.user.subscription.get().tier == "creator"
    assert [voice.name for voice in client.voices.search().voices] == ["Ada", "Ben"]
    with pytest.raises(ApiError) as refused:
        ElevenLabs(api_key="wrong", base_url=sandbox.environment()["ELEVENLABS_BASE_URL"]).voices.search()
    assert refused.value.status_code == 401


# Faults


def test_a_refused_upgrade(sandbox: Sandbox) -> None:
    sandbox.elevenlabs.faults.append(faults.RefuseUpgrade(429, b'{"detail":{"status":"system_busy"}}'))
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        Synthesis(sandbox)
    assert refused.value.status_code == 429
    Synthesis(sandbox)


def test_1008_in_the_middle_of_a_context(sandbox: Sandbox, client: Synthesis) -> None:
    sandbox.elevenlabs.faults.append(faults.CloseMidContext())
    client.send(text="This is cut off somewhere. ", context_id="t1", flush=True)
    assert client.to_the_end()[0] == 1008
    audio, error = client.received
    assert audio["audio"] and error["error"] == "something_went_wrong"


def test_a_reset_in_the_middle_of_a_context(sandbox: Sandbox, client: Synthesis) -> None:
    sandbox.elevenlabs.faults.append(faults.DropMidContext())
    with pytest.raises((ConnectionResetError, websocket.WebSocketConnectionClosedException)):
        speak(client, "t1", "This is cut off somewhere. ")
    until(lambda: sandbox.elevenlabs.sockets[0].close_code == 1006)


def test_a_context_without_audio(sandbox: Sandbox, client: Synthesis) -> None:
    sandbox.elevenlabs.faults.append(faults.NoAudio())
    client.send(text="Nobody hears this. ", context_id="t1", flush=True)
    client.send(context_id="t1", close_context=True)
    assert client.until_final("t1") == [{"isFinal": True, "contextId": "t1"}]
    assert text_of(audio_of(speak(client, "t2", "But this. "))) == "But this."


def test_final_without_audio(sandbox: Sandbox, client: Synthesis) -> None:
    sandbox.elevenlabs.faults.append(faults.FinalWithoutAudio())
    client.send(text="Nobody hears this. ", context_id="t1")
    client.send(context_id="t1", flush=True)
    messages = client.until_final("t1")
    assert messages[-1]["isFinal"]


def test_audio_for_a_context_that_nobody_opened(sandbox: Sandbox, client: Synthesis) -> None:
    sandbox.elevenlabs.faults.append(faults.AudioForDeadContext("t0"))
    spoken = speak(client, "t1", "Mine. ")
    assert client.received[0]["contextId"] == "t0" and text_of(audio_of(spoken)) == "Mine."


@pytest.mark.parametrize("raw", ["{not json", "null", '["a"]', '{"audio":17,"contextId":"t1"}'])
def test_anything_may_come_before_audio(sandbox: Sandbox, client: Synthesis, raw: str) -> None:
    sandbox.elevenlabs.faults.append(faults.BeforeAudio(raw))
    client.send(text="Mine. ", context_id="t1", flush=True)
    assert client.socket.recv() == raw
    assert client.receive()["audio"]


def test_garbage_in_the_place_of_audio(sandbox: Sandbox, client: Synthesis) -> None:
    sandbox.elevenlabs.faults.append(faults.GarbageAudio())
    client.send(text="Mine. ", context_id="t1", flush=True)
    garbage: Any = client.receive()["audio"]
    assert "%" in garbage and audio_of([client.receive()])


def test_a_stall_before_the_first_audio(sandbox: Sandbox, client: Synthesis) -> None:
    sandbox.elevenlabs.faults.append(faults.StallFirstAudio(0.2))
    began = time.monotonic()
    client.send(text="Late. ", context_id="t1", flush=True)
    client.receive()
    assert time.monotonic() - began > 0.2
