"""The synthesizer's wire against the stand-in, and against a server that says whatever a test wants."""

import base64
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from elevenlabs import types as sdk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from tests.wires.peers import Reader, until, websocket_server
from voice.core import events as ev
from voice.core.audio import Audio
from voice.errors import VendorError, VendorRefused, VendorUnavailable
from voice.sandbox import faults
from voice.sandbox.coded_speech import text_of
from voice.sandbox.elevenlabs_context import Context
from voice.sandbox.served_socket import ServedSocket
from voice.sandbox.stand_ins import Sandbox
from voice.wires import synthesizer as wire
from voice.wires.synthesizer import Synthesizer

SETTINGS = {"stability": 0.5, "similarity_boost": 0.75, "speed": 1.0}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def synthesizer_at(sandbox: Sandbox, key: str | None = None, model: str = "eleven_flash_v2_5") -> Synthesizer:
    env = sandbox.environment()
    url = env["ELEVENLABS_BASE_URL"].replace("http", "ws", 1)
    return Synthesizer(url, key or env["ELEVENLABS_API_KEY"], model, "a-voice", "en", SETTINGS)


def opened(synthesizer: Synthesizer) -> Reader[ev.Event]:
    """The socket is open, and the call has heard of it."""
    synthesizer.connect()
    reader = Reader(synthesizer.events())
    assert reader.next() == ev.SynthesizerReady()
    synthesizer.release()
    return reader


def speech_of(reader: Reader[ev.Event], turn: int) -> list[ev.SpeechArrived]:
    """What is said up to the end of the turn; nothing else may come."""
    said: list[ev.SpeechArrived] = []
    while not isinstance(event := reader.next(), ev.SpeechFinished):
        assert isinstance(event, ev.SpeechArrived) and event.turn == turn
        said.append(event)
    assert event.turn == turn
    return said


def sound(said: list[ev.SpeechArrived]) -> bytes:
    return b"".join(base64.b64decode(speech.audio.payload, validate=True) for speech in said)


def context(sandbox: Sandbox, turn: int) -> Context:
    (socket,) = sandbox.elevenlabs.sockets
    return socket.context(f"turn-{turn}")


# What is asked


def test_the_socket_is_asked_for_with_key_voice_and_format(sandbox: Sandbox) -> None:
    opened(synthesizer_at(sandbox))
    (socket,) = sandbox.elevenlabs.sockets
    assert socket.voice_id == "a-voice"
    assert socket.headers["xi-api-key"] == sandbox.elevenlabs.api_key
    assert socket.query == {
        "model_id": "eleven_flash_v2_5",
        "output_format": "ulaw_8000",
        "auto_mode": "true",
        "sync_alignment": "true",
        "inactivity_timeout": "180",
        "language_code": "en",
    }


def test_the_model_that_takes_no_language_is_given_none(sandbox: Sandbox) -> None:
    opened(synthesizer_at(sandbox, model="eleven_multilingual_v2"))
    assert "language_code" not in sandbox.elevenlabs.sockets[0].query


def test_every_message_is_one_of_the_vendors_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "KEEP_ALIVE_S", 0.0)
    got: list[bytes] = []

    def serve(served: ServedSocket) -> None:
        while message := served.receive():
            got.append(message)

    with websocket_server(serve) as url:
        synthesizer = Synthesizer(url, "key", "eleven_flash_v2_5", "a-voice", "en", SETTINGS)
        opened(synthesizer)
        synthesizer.speak(1, "Good day.")
        synthesizer.speak(1, "How are you?")
        synthesizer.finish(1)
        synthesizer.keep_alive()
        synthesizer.close(1)
        until(lambda: len(got) == 6, "six messages")
    messages = [orjson.loads(message) for message in got]
    assert messages == [
        {"text": " ", "context_id": "turn-1", "voice_settings": SETTINGS},
        {"text": "Good day. ", "context_id": "turn-1", "flush": True},
        {"text": "How are you? ", "context_id": "turn-1", "flush": True},
        {"context_id": "turn-1", "flush": True},
        {"text": ""},
        {"context_id": "turn-1", "close_context": True},
    ]
    kinds: list[type[BaseModel]] = [
        sdk.InitializeConnectionMulti,
        sdk.SendTextMulti,
        sdk.SendTextMulti,
        sdk.FlushContext,
        sdk.SendTextMulti,
        sdk.CloseContext,
    ]
    for message, kind in zip(messages, kinds, strict=True):
        parsed = kind.model_validate(message)
        assert parsed.model_extra == {}, f"{kind.__name__} knows no {parsed.model_extra}"
    first = sdk.InitializeConnectionMulti.model_validate(messages[0]).voice_settings
    assert first is not None and not first.model_extra


def test_an_agent_without_voice_settings_sends_none() -> None:
    got: list[bytes] = []
    with websocket_server(lambda served: got.append(served.receive() or b"")) as url:
        synthesizer = Synthesizer(url, "key", "eleven_flash_v2_5", "a-voice", "en", {})
        opened(synthesizer)
        synthesizer.speak(1, "Hello.")
        until(lambda: got)
    assert orjson.loads(got[0]) == {"text": " ", "context_id": "turn-1"}


def test_text_from_before_the_socket_is_open_arrives_in_order_behind_its_opening(sandbox: Sandbox) -> None:
    synthesizer = synthesizer_at(sandbox)
    synthesizer.speak(1, "Good day.")
    synthesizer.speak(1, "This is the clinic.")
    synthesizer.finish(1)
    reader = opened(synthesizer)
    synthesizer.speak(1, "How can I help?")
    synthesizer.close(1)
    assert text_of(sound(speech_of(reader, 1))) == "Good day. This is the clinic. How can I help?"
    assert context(sandbox, 1).texts == ["Good day. ", "This is the clinic. ", "How can I help? "]


def test_voice_settings_stand_in_the_first_message_of_each_context_and_in_no_other(sandbox: Sandbox) -> None:
    synthesizer = synthesizer_at(sandbox)
    reader = opened(synthesizer)
    for turn in (1, 2):
        synthesizer.speak(turn, "One.")
        synthesizer.speak(turn, "Two.")
        synthesizer.close(turn)
        assert text_of(sound(speech_of(reader, turn))) == "One. Two."
        assert context(sandbox, turn).first == {"text": " ", "context_id": f"turn-{turn}", "voice_settings": SETTINGS}
    assert sandbox.elevenlabs.sockets[0].close_error is None


def test_a_keep_alive_names_no_context_and_comes_only_after_silence(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthesizer = synthesizer_at(sandbox)
    synthesizer.keep_alive()
    opened(synthesizer)
    (socket,) = sandbox.elevenlabs.sockets
    synthesizer.speak(1, "Hello.")
    synthesizer.keep_alive()
    monkeypatch.setattr(wire, "KEEP_ALIVE_S", 0.0)
    synthesizer.keep_alive()
    until(lambda: socket.keep_alives, "a keep-alive")
    assert socket.keep_alives == 1 and [c.id for c in socket.contexts] == ["turn-1"]


def test_close_after_finish_lets_everything_be_spoken_and_closes_once(sandbox: Sandbox) -> None:
    synthesizer = synthesizer_at(sandbox)
    reader = opened(synthesizer)
    synthesizer.speak(1, "The whole of this is heard.")
    synthesizer.finish(1)
    synthesizer.close(1)
    synthesizer.close(1)
    said = speech_of(reader, 1)
    assert text_of(sound(said)) == "The whole of this is heard."
    assert context(sandbox, 1).closed and len(sandbox.elevenlabs.sockets[0].contexts) == 1


@pytest.mark.parametrize("closed_before", [False, True])
def test_neither_finish_nor_close_opens_a_context(sandbox: Sandbox, closed_before: bool) -> None:
    synthesizer = synthesizer_at(sandbox)
    reader = opened(synthesizer)
    if closed_before:
        synthesizer.speak(1, "Hello.")
        synthesizer.close(1)
        speech_of(reader, 1)
    synthesizer.finish(1)
    synthesizer.close(1)
    synthesizer.speak(2, "Hello.")
    synthesizer.close(2)
    speech_of(reader, 2)
    assert [c.id for c in sandbox.elevenlabs.sockets[0].contexts] == ["turn-1", "turn-2"][not closed_before :]


def test_what_is_spoken_again_has_a_context_of_its_own_and_the_first_ones_sound_is_dropped(sandbox: Sandbox) -> None:
    sandbox.elevenlabs.faults.append(faults.StallFirstAudio(0.2))
    synthesizer = synthesizer_at(sandbox)
    reader = opened(synthesizer)
    synthesizer.speak(1, "Too late.")
    until(lambda: bool(sandbox.elevenlabs.sockets[0].contexts), "the first context is open")
    synthesizer.close(1)
    synthesizer.speak(1, "Hello.")
    synthesizer.close(1)
    said = speech_of(reader, 1)
    assert [c.id for c in sandbox.elevenlabs.sockets[0].contexts] == ["turn-1", "turn-1.2"]
    until(lambda: sandbox.elevenlabs.sockets[0].contexts[0].final_sent, "the first context has ended")
    assert "".join(speech.alignment.chars for speech in said).strip() == "Hello."


# What comes


def test_speech_comes_with_its_turn_its_size_and_its_alignment(sandbox: Sandbox) -> None:
    synthesizer = synthesizer_at(sandbox)
    reader = opened(synthesizer)
    synthesizer.speak(3, "Good day to you.")
    synthesizer.close(3)
    said = speech_of(reader, 3)
    assert len(said) > 1
    assert [speech.audio.size for speech in said] == [len(sound([speech])) for speech in said]
    assert "".join(speech.alignment.chars for speech in said) == "Good day to you. "
    for speech in said:
        times = speech.alignment.starts_ms
        assert len(times) == len(speech.alignment.chars) == len(speech.alignment.durations_ms)
        assert times == tuple(sorted(times)) and times[-1] < speech.audio.ms


def told(*messages: Any) -> list[ev.Event]:
    """The events of these messages (JSON, or bytes as they are) between the opening and the end of an unused turn."""

    def serve(served: ServedSocket) -> None:
        for message in (*messages, {"isFinal": True, "contextId": "turn-999"}):
            served.send_raw(message if isinstance(message, bytes) else orjson.dumps(message))
        served.receive()

    with websocket_server(serve) as url:
        synthesizer = Synthesizer(url, "key", "eleven_flash_v2_5", "a-voice", "en", SETTINGS)
        reader = opened(synthesizer)
        events = []
        try:
            while (event := reader.next()) != ev.SpeechFinished(999):
                events.append(event)
        finally:
            synthesizer.shutdown()
    return events


HI = base64.b64encode(b"\xe8\x69" * 80).decode()


@pytest.mark.parametrize(
    ("context_key", "starts", "durations", "final"),
    [
        ("contextId", "charStartTimesMs", "charDurationsMs", "isFinal"),
        ("context_id", "charsStartTimesMs", "charsDurationsMs", "is_final"),
    ],
)
def test_both_spellings_of_the_keys_are_understood(context_key: str, starts: str, durations: str, final: str) -> None:
    alignment = {"chars": ["H", "i"], starts: [0, 70], durations: [70, 40]}
    events = told(
        {"audio": HI, context_key: "turn-4", "alignment": alignment, "normalizedAlignment": None, "error": None},
        {final: True, context_key: "turn-4", "audio": None},
    )
    assert events == [
        ev.SpeechArrived(4, Audio(160, HI), ev.Alignment("Hi", (0, 70), (70, 40))),
        ev.SpeechFinished(4),
    ]


@pytest.mark.parametrize(
    "alignment",
    [
        None,
        {},
        [],
        "Hi",
        {"chars": None, "charStartTimesMs": None, "charDurationsMs": None},
        {"chars": ["H", "i"], "charStartTimesMs": [0], "charDurationsMs": [70, 40]},
        {"chars": ["H"], "charStartTimesMs": [0, 1], "charDurationsMs": [70, 40]},
        {"chars": ["H", ""], "charStartTimesMs": [0, 1], "charDurationsMs": [70, 40]},
        {"chars": [{}], "charStartTimesMs": [0], "charDurationsMs": [70]},
        {"chars": [1], "charStartTimesMs": [0], "charDurationsMs": [70]},
        {"chars": ["H"], "charStartTimesMs": [None], "charDurationsMs": ["x"]},
        {"chars": ["H"], "charStartTimesMs": 5, "charDurationsMs": {}},
        {"chars": {"0": 1}, "charStartTimesMs": [{}], "charDurationsMs": [[]]},
    ],
)
def test_a_malformed_alignment_is_none_and_the_sound_is_played(alignment: object) -> None:
    events = told({"audio": HI, "contextId": "turn-1", "alignment": alignment})
    assert events == [ev.SpeechArrived(1, Audio(160, HI), ev.Alignment())]


@pytest.mark.matrix(29)
@pytest.mark.parametrize(
    "audio",
    [
        None,
        "",
        17,
        ["aGk="],
        {},
        "%%% not base64 %%%",
        "aGk",
        "aGk=\n",
        " aGk=",
        "aGk=aGk=",
        "aGk==",
        "a-_=",
        "äöü=",
        "====",
    ],
)
def test_what_is_not_base64_to_the_letter_never_becomes_speech(audio: object) -> None:
    assert told({"audio": audio, "contextId": "turn-1", "alignment": None}) == []


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"null",
        b"[]",
        b"no json",
        b"\xff",
        {},
        {"audio": HI},
        {"audio": HI, "contextId": None},
        {"audio": HI, "contextId": 1},
        {"audio": HI, "contextId": "nobody"},
        {"audio": HI, "contextId": "turn-"},
        {"audio": HI, "contextId": "turn-x"},
        {"audio": HI, "contextId": "turn--1"},
        {"audio": HI, "contextId": "turn-1\n"},
        {"audio": HI, "contextId": "turn-٣"},
        {"audio": HI, "contextId": "turn-" + "9" * 5000},
        {"isFinal": True},
        {"isFinal": False, "contextId": "turn-1"},
        {"something": "new", "contextId": "turn-1"},
        {"error": None, "contextId": "turn-1"},
    ],
)
def test_what_belongs_to_no_turn_is_passed_over(message: Any) -> None:
    assert told(message) == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_CONTEXTS = st.sampled_from(["turn-1", "turn-", "turn-" + "9" * 5000, "", "turn-٣"]) | _JSON
_NAMES = ("chars", "charStartTimesMs", "charsStartTimesMs", "charDurationsMs", "charsDurationsMs")
_ALIGNMENTS = _JSON | st.dictionaries(st.sampled_from(_NAMES), _JSON | st.lists(_JSON, max_size=3))
_MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "audio": st.just(HI) | _JSON,
        "contextId": _CONTEXTS,
        "context_id": _CONTEXTS,
        "alignment": _ALIGNMENTS,
        "isFinal": _JSON,
        "is_final": _JSON,
        "error": _JSON,
        "message": _JSON,
        "code": _JSON,
    },
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_MESSAGES | st.dictionaries(st.text(max_size=8), _JSON, max_size=4), max_size=20))
def test_no_message_whatever_raises_anything_but_a_vendor_error(messages: list[Any]) -> None:
    try:
        events = told(*messages)
    except VendorError:
        assert any(message.get("error") for message in messages)
        return
    for event in events:
        assert isinstance(event, ev.SpeechArrived | ev.SpeechFinished)
        if isinstance(event, ev.SpeechArrived):
            assert event.audio.size == len(base64.b64decode(event.audio.payload, validate=True)) > 0


# What goes wrong


def test_garbage_in_the_place_of_audio_is_left_out_of_a_turn(sandbox: Sandbox) -> None:
    sandbox.elevenlabs.faults += [faults.GarbageAudio(), faults.AudioForDeadContext(), faults.BeforeAudio("[null")]
    synthesizer = synthesizer_at(sandbox)
    reader = opened(synthesizer)
    synthesizer.speak(1, "Only this.")
    synthesizer.close(1)
    assert text_of(sound(speech_of(reader, 1))) == "Only this."
    assert sandbox.elevenlabs.faults == []


def test_a_policy_violation_is_unavailable_with_its_words(sandbox: Sandbox) -> None:
    sandbox.elevenlabs.faults.append(faults.CloseMidContext())
    synthesizer = synthesizer_at(sandbox)
    reader = opened(synthesizer)
    synthesizer.speak(1, "Hello.")
    assert isinstance(reader.next(), ev.SpeechArrived)
    with pytest.raises(VendorUnavailable, match="something_went_wrong: We are sorry, something went wrong."):
        reader.next()


def test_a_close_without_an_error_message_is_told_with_code_and_reason() -> None:
    with websocket_server(lambda served: served.close(1008, "input_timeout_exceeded")) as url:
        synthesizer = Synthesizer(url, "key", "eleven_flash_v2_5", "a-voice", "en", SETTINGS)
        synthesizer.connect()
        reader = Reader(synthesizer.events())
        reader.next()
        with pytest.raises(VendorUnavailable, match="closed the connection: 1008 input_timeout_exceeded"):
            reader.next()


def test_a_lost_connection_is_unavailable_for_reader_and_writer(sandbox: Sandbox) -> None:
    sandbox.elevenlabs.faults.append(faults.DropMidContext())
    synthesizer = synthesizer_at(sandbox)
    reader = opened(synthesizer)
    synthesizer.speak(1, "Hello.")
    with pytest.raises(VendorUnavailable):
        while reader.next():
            pass
    with pytest.raises(VendorUnavailable):
        for _ in range(3):
            synthesizer.speak(1, "Anybody there?")


def test_a_bad_key_is_refused_at_the_handshake(sandbox: Sandbox) -> None:
    with pytest.raises(VendorRefused, match="401.*invalid_api_key"):
        synthesizer_at(sandbox, key="wrong").connect()


def test_a_bad_key_that_is_told_after_the_handshake_fails_with_its_words(sandbox: Sandbox) -> None:
    sandbox.elevenlabs.bad_key_is_1008 = True
    synthesizer = synthesizer_at(sandbox, key="wrong")
    synthesizer.connect()
    reader = Reader(synthesizer.events())
    assert reader.next() == ev.SynthesizerReady()
    with pytest.raises(VendorRefused, match="invalid_api_key") as refused:
        reader.next()
    assert refused.value.account


@pytest.mark.matrix(27)
@pytest.mark.parametrize("slug", ["quota_exceeded", "detected_unusual_activity"])
def test_an_account_that_is_used_up_is_refused_for_all_calls(slug: str) -> None:
    def serve(served: ServedSocket) -> None:
        served.send({"message": "No.", "error": slug, "code": 1008})
        served.receive()

    with websocket_server(serve) as url:
        synthesizer = Synthesizer(url, "key", "eleven_flash_v2_5", "voice", "en", {})
        reader = opened(synthesizer)
        with pytest.raises(VendorRefused, match=slug) as refused:
            reader.next()
        assert refused.value.account


@pytest.mark.matrix(29)
@pytest.mark.threat(25)
@pytest.mark.parametrize(
    "text", [b'{"error": "quota_exceeded"}', b"<html>502 Bad Gateway</html>", b"Internal error. Try again later." * 40]
)
def test_a_text_that_calls_itself_sound_is_never_played(text: bytes) -> None:
    silence = base64.b64encode(b"\x7f" * 160).decode()
    events = told(
        {"audio": base64.b64encode(text).decode(), "contextId": "turn-1"}, {"audio": silence, "contextId": "turn-1"}
    )
    assert events == [ev.SpeechArrived(1, Audio(160, silence), ev.Alignment())]


@pytest.mark.parametrize(("status", "kind"), [(400, VendorRefused), (429, VendorUnavailable), (503, VendorUnavailable)])
def test_a_refused_handshake_is_told_with_its_body(sandbox: Sandbox, status: int, kind: type[VendorError]) -> None:
    sandbox.elevenlabs.faults.append(faults.RefuseUpgrade(status, b'{"detail":{"status":"system_busy"}}'))
    with pytest.raises(kind, match="system_busy"):
        synthesizer_at(sandbox).connect()


def test_shutdown_wakes_the_reader_and_may_come_before_the_connection(sandbox: Sandbox) -> None:
    synthesizer = synthesizer_at(sandbox)
    synthesizer.shutdown()
    reader = opened(synthesizer)
    synthesizer.shutdown()
    synthesizer.shutdown()
    with pytest.raises(VendorUnavailable):
        reader.next()
    until(lambda: sandbox.elevenlabs.sockets[0].closed, "the end of the socket")
