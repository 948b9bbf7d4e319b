"""The transcriber's wire against the stand-in, and against a server that plays what the stand-in does not."""

import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from openai.types.realtime import RealtimeTranscriptionSessionCreateRequest, SessionUpdateEvent
from pydantic import BaseModel, TypeAdapter

from tests.wires.peers import Reader, until, websocket_server
from voice.core import events as ev
from voice.core.audio import FRAME_BYTES, SILENCE
from voice.errors import VendorRefused, VendorUnavailable
from voice.sandbox import faults
from voice.sandbox.coded_speech import encode_speech, text_of
from voice.sandbox.openai_session import Session
from voice.sandbox.served_socket import ServedSocket
from voice.sandbox.stand_ins import Sandbox
from voice.wires import transcription_session
from voice.wires.transcriber import Transcriber
from voice.wires.transcription_session import Hearing

LIVE, SERVER_VAD = "gpt-live-transcribe", "gpt-4o-transcribe"
KEYWORDS = ("Mill Lane", "Riverside")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def transcriber_at(sandbox: Sandbox, model: str = LIVE, audio_format: str = "pcmu") -> Transcriber:
    env = sandbox.environment()
    return Transcriber(env["OPENAI_REALTIME_URL"], env["OPENAI_API_KEY"], model, audio_format, "a-call")


def read(transcriber: Transcriber) -> Reader[ev.Event]:
    return Reader(told(transcriber, Hearing("en", KEYWORDS, 500)))


def told(transcriber: Transcriber, hearing: Hearing) -> Iterator[ev.Event]:
    """One session from its opening to its end, which is raised."""
    transcriber.connect()
    yield transcriber.begin(hearing)
    while True:
        if event := transcriber.next():
            yield event


def ready(transcriber: Transcriber) -> Reader[ev.Event]:
    reader = read(transcriber)
    assert isinstance(reader.next(), ev.TranscriberReady)
    return reader


def frames_of(audio: bytes) -> list[bytes]:
    return [audio[at : at + FRAME_BYTES] for at in range(0, len(audio), FRAME_BYTES)]


def say(transcriber: Transcriber, audio: bytes) -> None:
    for frame in frames_of(audio):
        transcriber.send_audio(frame)


def numbered(count: int) -> list[bytes]:
    """Frames that differ, so that their order can be seen."""
    return [bytes([n % 251]) * 158 + n.to_bytes(2, "big") for n in range(count)]


# The settings of a session


LANGUAGES: dict[str, object] = {"languages": ["en"], "keywords": list(KEYWORDS)}
VAD = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}


@pytest.mark.parametrize(
    ("model", "told", "turn_detection"),
    [
        ("gpt-live-transcribe", LANGUAGES, None),
        ("gpt-transcribe", LANGUAGES, None),
        ("gpt-realtime-whisper", {"language": "en"}, None),
        ("gpt-4o-transcribe", {"language": "en"}, VAD),
        ("gpt-4o-mini-transcribe", {"language": "en"}, VAD),
        ("whisper-1", {"language": "en"}, VAD),
    ],
)
@pytest.mark.parametrize(
    ("audio_format", "sent_format"),
    [("pcmu", {"type": "audio/pcmu"}), ("pcm24k", {"type": "audio/pcm", "rate": 24000})],
)
def test_a_session_is_configured_once_and_exactly(
    model: str, told: dict[str, object], turn_detection: object, audio_format: str, sent_format: object
) -> None:
    update, later = updates_of(model, audio_format)
    audio = {"format": sent_format, "transcription": {"model": model, **told}, "turn_detection": turn_detection}
    assert update == {"type": "session.update", "session": {"type": "transcription", "audio": {"input": audio}}}
    assert later == []
    TypeAdapter(SessionUpdateEvent).validate_python(update)
    session = RealtimeTranscriptionSessionCreateRequest.model_validate(update["session"])
    assert extras(session) == []


def updates_of(model: str, audio_format: str) -> tuple[dict[str, Any], list[bytes]]:
    """The first message of a client, and what else it sends until its session is ready and it has left."""
    got: list[bytes] = []

    def serve(served: ServedSocket) -> None:
        served.send({"type": "session.created", "session": {}})
        got.append(served.receive() or b"")
        served.send({"type": "session.updated", "session": {}})
        while message := served.receive():
            got.append(message)

    with websocket_server(serve) as url:
        transcriber = Transcriber(url, "key", model, audio_format, "a-call")
        ready(transcriber)
        transcriber.shutdown()
    return orjson.loads(got[0]), got[1:]


def extras(model: BaseModel) -> list[str]:
    """Fields that the vendor's type does not know, however deep."""
    inner = [value for _, value in model if isinstance(value, BaseModel)]
    return [*(model.model_extra or {}), *(name for value in inner for name in extras(value))]


@pytest.mark.parametrize("model", [LIVE, "gpt-realtime-whisper", "gpt-transcribe", SERVER_VAD, "whisper-1"])
@pytest.mark.parametrize("audio_format", ["pcmu", "pcm24k"])
def test_the_vendor_takes_the_settings_of_every_model(sandbox: Sandbox, model: str, audio_format: str) -> None:
    transcriber = transcriber_at(sandbox, model, audio_format)
    ready(transcriber)
    session = sandbox.openai.sessions[0]
    assert session.errors == [] and session.received == ["session.update"] and session.kind == "transcription"
    assert transcriber.detects_speech == (session.config["turn_detection"] is not None)


def test_without_keywords_none_are_sent(sandbox: Sandbox) -> None:
    transcriber = transcriber_at(sandbox)
    assert Reader(told(transcriber, Hearing("de", (), 500))).next() == ev.TranscriberReady()
    assert sandbox.openai.sessions[0].config["transcription"] == {"model": LIVE, "languages": ["de"]}


# Audio


@pytest.mark.parametrize("audio_format", ["pcmu", "pcm24k"])
def test_commit_mode_tells_words_as_they_come_and_the_final_text_after_the_commit(
    sandbox: Sandbox, audio_format: str
) -> None:
    transcriber = transcriber_at(sandbox, LIVE, audio_format)
    reader = ready(transcriber)
    say(transcriber, encode_speech("when are you open"))
    deltas = [reader.next()]
    assert isinstance(deltas[0], ev.TranscriptExtended), "no words before the commit"
    transcriber.commit()
    events = [*deltas, *until_final(reader)]
    extended = [event for event in events if isinstance(event, ev.TranscriptExtended)]
    item = extended[0].item
    assert "".join(event.text for event in extended) == "when are you open"
    assert [event for event in events if event not in extended] == [
        ev.UtteranceCommitted(item),
        ev.TranscriptFinished(item, "when are you open"),
    ]


def until_final(reader: Reader[ev.Event]) -> list[ev.Event]:
    events = [reader.next()]
    while not isinstance(events[-1], ev.TranscriptFinished):
        events.append(reader.next())
    return events


def test_server_vad_mode_tells_when_the_caller_speaks_and_needs_no_commit(sandbox: Sandbox) -> None:
    transcriber = transcriber_at(sandbox, SERVER_VAD)
    reader = ready(transcriber)
    say(transcriber, SILENCE * 1600 + encode_speech("where are you") + SILENCE * 8000)
    events = until_final(reader)
    item = events[-1].item if isinstance(events[-1], ev.TranscriptFinished) else ""
    assert events[:3] == [ev.CallerStartedSpeaking(), ev.CallerStoppedSpeaking(500), ev.UtteranceCommitted(item)]
    assert events[-1] == ev.TranscriptFinished(item, "where are you")


def test_the_caller_is_not_heard_twice_when_we_detect_speech_ourselves() -> None:
    events = [
        {"type": "input_audio_buffer.speech_started", "item_id": "i", "audio_start_ms": 1},
        {"type": "input_audio_buffer.speech_stopped", "item_id": "i", "audio_end_ms": 1},
        {"type": "input_audio_buffer.committed", "item_id": "i"},
    ]
    with scripted(*events) as reader:
        assert reader.take(2) == [ev.TranscriberReady(), ev.UtteranceCommitted("i")]


@pytest.mark.parametrize("audio_format", ["pcmu", "pcm24k"])
def test_every_frame_arrives_once_and_in_order(sandbox: Sandbox, audio_format: str) -> None:
    transcriber = transcriber_at(sandbox, LIVE, audio_format)
    speech = encode_speech("one two three four five six seven eight nine ten")
    early, late = speech[: 40 * FRAME_BYTES], speech[40 * FRAME_BYTES :] + SILENCE * 81 * FRAME_BYTES
    say(transcriber, early)
    ready(transcriber)
    say(transcriber, late)
    session = sandbox.openai.sessions[0]
    until(lambda: session.hearing.received_bytes >= len(early + late) - 1, "all the audio")
    if audio_format == "pcmu":
        assert session.audio == early + late
    else:  # the resampler begins and ends between two samples
        assert text_of(session.audio) == text_of(speech)


def test_audio_before_the_session_is_ready_is_kept_and_sent_faster_than_real_time() -> None:
    sizes = appended(early=numbered(10), late=numbered(8))
    # Ten waited; each that comes takes one or two more along, until nothing waits and two make one message.
    assert sizes == [480, 320, 480, 320, 480, 320, 320]


def test_no_more_than_fifteen_seconds_are_kept_and_what_is_dropped_is_the_oldest_and_counted(sandbox: Sandbox) -> None:
    transcriber = transcriber_at(sandbox)
    transcriber.speech_started()
    frames = numbered(770)
    for frame in frames:
        transcriber.send_audio(frame)
    assert transcriber.dropped_bytes == 20 * FRAME_BYTES
    ready(transcriber)
    later = [SILENCE * FRAME_BYTES] * 602
    for frame in later:
        transcriber.send_audio(frame)
    session = sandbox.openai.sessions[0]
    wanted = b"".join(frames[20:] + later)
    until(lambda: len(session.audio) == len(wanted), "all the audio that was kept")
    assert session.audio == wanted
    assert transcriber.dropped_bytes == 20 * FRAME_BYTES


def test_of_silence_that_nobody_hears_only_the_last_second_is_kept(sandbox: Sandbox) -> None:
    transcriber = transcriber_at(sandbox)
    frames = numbered(520)
    send(transcriber, frames)
    assert next(told(transcriber, Hearing("en", (), 500))) == ev.TranscriberReady(0, 1.0)
    send(transcriber, [SILENCE * FRAME_BYTES] * 41)
    session = sandbox.openai.sessions[0]
    until(lambda: len(session.audio) == 91 * FRAME_BYTES, "all the audio that was kept")
    assert session.audio.startswith(b"".join(frames[-50:]))
    assert transcriber.dropped_bytes == 0


# One session after another


@pytest.mark.matrix(1, 2)
def test_what_was_not_understood_is_heard_again_by_the_next_session_and_nothing_else(sandbox: Sandbox) -> None:
    transcriber = transcriber_at(sandbox)
    first = ready(transcriber)
    words = ("hello you there", "when are you open", "on mondays")
    understood, ended, begun = map(encode_speech, words)
    speak(transcriber, understood)
    until_final(first)
    speak(transcriber, ended)
    speak(transcriber, begun, ends=False)
    transcriber.lost()
    pause = [SILENCE * FRAME_BYTES] * 100
    send(transcriber, pause)
    transcriber.commit()
    second = read(transcriber)
    assert second.next() == ev.TranscriberReady(2, round((len(ended) + len(begun)) / 8000 + 2, 2))
    send(transcriber, pause)
    finals = [until_final(second)[-1] for _ in range(2)]
    assert [final.text for final in finals if isinstance(final, ev.TranscriptFinished)] == [
        "when are you open",
        "on mondays",
    ]
    assert text_of(sandbox.openai.sessions[1].audio) == "when are you open on mondays"


@pytest.mark.matrix(3)
def test_what_is_heard_again_goes_out_at_less_than_three_times_real_time() -> None:
    got: list[bytes] = []
    with scripted_server([], got) as url:
        transcriber = Transcriber(url, "key", LIVE, "pcmu", "a-call")
        transcriber.speech_started()
        send(transcriber, numbered(30))
        ready(transcriber)
        sizes = [3 * FRAME_BYTES, 2 * FRAME_BYTES] * 4
        for count in range(1, 9):
            transcriber.send_audio(numbered(1)[0])
            until(lambda: len(got) == 1 + count, "the next message")  # noqa: B023
        assert [len(decoded(orjson.loads(message))) for message in got[1:]] == sizes
        transcriber.shutdown()


@pytest.mark.matrix(11)
def test_a_session_is_renewed_before_its_end_in_a_quiet_moment_and_nothing_is_lost(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    transcriber = transcriber_at(sandbox)
    reader = ready(transcriber)
    assert not transcriber.renewal_due
    assert transcriber._session is not None
    transcriber._session.renew_at = 0.0
    assert transcriber.renewal_due
    transcriber.speech_started()
    speech = encode_speech("when are you open")
    half = len(speech) // 320 * FRAME_BYTES
    send(transcriber, frames_of(speech[:half]))
    assert not transcriber.renewal_due, "the caller speaks"
    renewed = read(transcriber)
    assert isinstance(renewed.next(), ev.TranscriberReady)
    send(transcriber, frames_of(speech[half:]))
    send(transcriber, [SILENCE * FRAME_BYTES] * 30)
    transcriber.commit()
    final = until_final(renewed)[-1]
    assert isinstance(final, ev.TranscriptFinished) and final.text == "when are you open"
    with pytest.raises(VendorUnavailable):
        while reader.next():
            pass
    transcriber.renewal_failed()
    assert not transcriber.renewal_due


@pytest.mark.parametrize(
    ("left_s", "after_s"), [(600, 540), (3600, 3240), (-5, 3240), (10**9, 3240), (None, 3240), ("x", 3240)]
)
def test_a_session_is_renewed_at_nine_tenths_of_its_life(left_s: object, after_s: float) -> None:
    expires_at = time.time() + left_s if isinstance(left_s, int) else left_s

    def serve(served: ServedSocket) -> None:
        served.send({"type": "session.created", "session": {"expires_at": expires_at}})
        served.receive()
        served.send({"type": "session.updated", "session": {}})
        served.receive()

    with websocket_server(serve) as url:
        transcriber = Transcriber(url, "key", LIVE, "pcmu", "a-call")
        ready(transcriber)
        assert transcriber._session is not None
        assert transcriber._session.renew_at - time.monotonic() == pytest.approx(after_s, abs=5)
        transcriber.shutdown()


@pytest.mark.matrix(7)
def test_a_setting_that_is_refused_by_its_name_is_left_out_once() -> None:
    got: list[dict[str, Any]] = []
    param = "session.audio.input.transcription.keywords[0]"

    def serve(served: ServedSocket) -> None:
        served.send({"type": "session.created", "session": {}})
        got.append(orjson.loads(served.receive() or b"{}"))
        served.send({"type": "error", "error": {"code": "invalid_value", "message": "No.", "param": param}})
        got.append(orjson.loads(served.receive() or b"{}"))
        served.send({"type": "session.updated", "session": {}})
        served.receive()

    with websocket_server(serve) as url:
        transcriber = Transcriber(url, "key", LIVE, "pcmu", "a-call")
        ready(transcriber)
        transcriber.shutdown()
    told_of = [message["session"]["audio"]["input"]["transcription"] for message in got]
    assert told_of == [{"model": LIVE, **LANGUAGES}, {"model": LIVE, "languages": ["en"]}]


def speak(transcriber: Transcriber, audio: bytes, ends: bool = True) -> None:
    transcriber.speech_started()
    send(transcriber, frames_of(audio))
    if ends:
        transcriber.commit()


def test_a_commit_keeps_its_place_in_audio_that_waits() -> None:
    frames = numbered(9)

    def early(transcriber: Transcriber) -> None:
        transcriber.speech_started()
        send(transcriber, frames[:4])
        transcriber.commit()
        send(transcriber, frames[4:])

    messages = sent_by(early, late=numbered(6))
    kinds = [message["type"].rpartition(".")[2] for message in messages]
    place = kinds.index("commit")
    before = b"".join(decoded(message) for message in messages[:place])
    after = b"".join(decoded(message) for message in messages[place + 1 :])
    assert before == b"".join(frames[:4])
    assert (before + after).startswith(b"".join(frames + numbered(6)[:5]))
    assert kinds.count("commit") == 1


def test_a_commit_takes_along_the_frame_that_waits_for_a_second_one(sandbox: Sandbox) -> None:
    transcriber = transcriber_at(sandbox)
    reader = ready(transcriber)
    say(transcriber, encode_speech("hello you")[: 7 * FRAME_BYTES])
    transcriber.commit()
    until_final(reader)
    assert len(sandbox.openai.sessions[0].audio) == 7 * FRAME_BYTES


def send(transcriber: Transcriber, frames: list[bytes]) -> None:
    for frame in frames:
        transcriber.send_audio(frame)


def appended(early: list[bytes], late: list[bytes]) -> list[int]:
    return [len(decoded(message)) for message in sent_by(lambda transcriber: send(transcriber, early), late)]


def decoded(message: dict[str, Any]) -> bytes:
    return b64decode(message["audio"], validate=True)


def sent_by(early: Callable[[Transcriber], object], late: list[bytes]) -> list[dict[str, Any]]:
    """What goes over the wire, when `early` is done before the connection and `late` sent when the session is ready."""
    got: list[bytes] = []
    with scripted_server([], got) as url:
        transcriber = Transcriber(url, "key", LIVE, "pcmu", "a-call")
        early(transcriber)
        ready(transcriber)
        assert len(got) == 1, "something was sent before the session was ready"
        send(transcriber, late)
        transcriber.shutdown()
        until(lambda: got[-1] == b"", "the end of the connection")
    return [orjson.loads(message) for message in got[1:-1]]


# What the transcriber says


def scripted_server(messages: list[Any], got: list[bytes] | None = None, configured: bool = True) -> Any:
    """A session that says these messages (JSON, or bytes as they are) when it is configured, or before; `got` is what
    it received, with b"" for the end."""

    def tell(served: ServedSocket) -> None:
        for message in messages:
            served.send_raw(message if isinstance(message, bytes) else orjson.dumps(message))

    def serve(served: ServedSocket) -> None:
        served.send({"type": "session.created", "session": {}})
        update = served.receive() or b""
        if not configured:
            tell(served)
        served.send({"type": "session.updated", "session": {}})
        if got is not None:
            got.append(update)
        if configured:
            tell(served)
        while (message := served.receive()) is not None:
            if got is not None:
                got.append(message)
        if got is not None:
            got.append(b"")

    return websocket_server(serve)


class scripted:
    """Reads the events of a session of which `scripted_server` tells."""

    def __init__(self, *messages: Any, model: str = LIVE, configured: bool = True) -> None:
        self._server = scripted_server(list(messages), configured=configured)
        self._model = model

    def __enter__(self) -> Reader[ev.Event]:
        self._transcriber = Transcriber(self._server.__enter__(), "key", self._model, "pcmu", "a-call")
        return read(self._transcriber)

    def __exit__(self, *_: object) -> None:
        self._transcriber.shutdown()
        self._server.__exit__(None, None, None)


END = {"type": "input_audio_buffer.committed", "item_id": "the-end"}
_OF = "conversation.item.input_audio_transcription."


def error(code: object, kind: object = "invalid_request_error", message: object = "No.") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "code": code, "message": message, "param": None}}


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"no json",
        b"null",
        b"[1]",
        b'{"type":',
        b'{"type":"\xff"}',
        {},
        {"type": None},
        {"type": ["error"]},
        {"type": {"error": 1}},
        {"type": "rate_limits.updated", "rate_limits": []},
        {"type": "conversation.item.added", "item": {"id": "x"}},
        {"type": "input_audio_buffer.timeout_triggered"},
        {"type": "something.new", "item_id": "x", "delta": "x", "transcript": "x"},
        {"type": _OF + "delta"},
        {"type": _OF + "delta", "item_id": None, "delta": "x"},
        {"type": _OF + "delta", "item_id": "x", "delta": None},
        {"type": _OF + "delta", "item_id": "x", "delta": {"text": "x"}},
        {"type": _OF + "completed", "item_id": "x", "transcript": None},
        {"type": _OF + "completed", "item_id": 7, "transcript": "x"},
        {"type": _OF + "failed", "item_id": None},
        {"type": "input_audio_buffer.committed", "item_id": None},
        {"type": "session.updated"},
        error("invalid_value"),
        error(None),
        error(["invalid_api_key"]),
        error({"code": "server_error"}, ["server_error"]),
        error(17, 18, None),
        {"type": "error"},
        {"type": "error", "error": None},
        {"type": "error", "error": "invalid"},
        {"type": "error", "error": ["x"]},
    ],
)
def test_what_is_malformed_or_unknown_or_harmless_is_passed_over(message: Any) -> None:
    with scripted(message, END) as reader:
        assert reader.take(2) == [ev.TranscriberReady(), ev.UtteranceCommitted("the-end")]


def test_fields_that_may_be_missing_are_not_needed() -> None:
    finished = {"type": _OF + "completed", "item_id": "i", "transcript": ""}
    failed = {"type": _OF + "failed", "item_id": "i"}
    with scripted({"type": _OF + "delta", "item_id": "i", "delta": "Hé"}, finished, failed) as reader:
        reader.next()
        assert reader.take(2) == [ev.TranscriptExtended("i", "Hé"), ev.TranscriptFinished("i", "")]
        assert isinstance(reader.next(), ev.TranscriptFailed)


def test_a_transcript_that_fails_is_told_with_its_reason(sandbox: Sandbox) -> None:
    sandbox.openai.faults.append(faults.FailedFinal("audio_unintelligible"))
    transcriber = transcriber_at(sandbox, "gpt-transcribe")
    reader = ready(transcriber)
    say(transcriber, encode_speech("mumble mumble"))
    transcriber.commit()
    committed = reader.next()
    assert isinstance(committed, ev.UtteranceCommitted)
    while isinstance(event := reader.next(), ev.TranscriptExtended):
        pass
    assert isinstance(event, ev.TranscriptFailed) and event.item == committed.item
    assert "audio_unintelligible" in event.detail


def test_a_commit_of_too_little_audio_is_a_failed_transcript_and_the_session_goes_on(sandbox: Sandbox) -> None:
    transcriber = transcriber_at(sandbox)
    reader = ready(transcriber)
    transcriber.commit()
    event = reader.next()
    assert isinstance(event, ev.TranscriptFailed) and event.item == "" and "commit_empty" in event.detail
    say(transcriber, encode_speech("still there"))
    transcriber.commit()
    assert isinstance(until_final(reader)[-1], ev.TranscriptFinished)


FATAL = (
    "invalid_api_key",
    "insufficient_quota",
    "missing_model",
    "model_not_found",
    "invalid_model",
    "beta_api_shape_disabled",
)
LOST = ("session_expired", "server_error", "rate_limit_exceeded")


@pytest.mark.parametrize("configured", [True, False])
@pytest.mark.parametrize("code", FATAL)
def test_errors_that_trying_again_cannot_help_refuse(code: str, configured: bool) -> None:
    with scripted(error(code), configured=configured) as reader:
        if configured:
            reader.next()
        with pytest.raises(VendorRefused, match=code):
            reader.next()


@pytest.mark.parametrize("code", FATAL)
def test_key_and_quota_are_the_accounts_and_the_rest_is_this_calls(code: str) -> None:
    with scripted(error(code), configured=False) as reader, pytest.raises(VendorRefused) as refused:
        reader.next()
    assert refused.value.account == (code in ("invalid_api_key", "insufficient_quota"))


@pytest.mark.parametrize("configured", [True, False])
@pytest.mark.parametrize("message", [*map(error, LOST), error(None, "server_error")])
def test_errors_that_a_new_session_may_not_have_are_unavailable(message: dict[str, Any], configured: bool) -> None:
    with scripted(message, configured=configured) as reader:
        if configured:
            reader.next()
        with pytest.raises(VendorUnavailable):
            reader.next()


@pytest.mark.parametrize("message", [error("invalid_value"), error(None), {"type": "error"}])
def test_any_error_before_the_session_is_ready_refuses_because_the_session_would_be_deaf(message: Any) -> None:
    with scripted(message, configured=False) as reader, pytest.raises(VendorRefused):
        reader.next()


def test_an_error_in_the_place_of_the_settings_refuses(sandbox: Sandbox) -> None:
    sandbox.openai.faults.append(faults.ErrorAfterUpdate("invalid_value", message="Turn detection is not supported."))
    with pytest.raises(VendorRefused, match="invalid_value: Turn detection is not supported."):
        read(transcriber_at(sandbox)).next()


def test_a_bad_key_is_told_after_the_handshake(sandbox: Sandbox) -> None:
    transcriber = Transcriber(sandbox.environment()["OPENAI_REALTIME_URL"], "wrong", LIVE, "pcmu", "a-call")
    with pytest.raises(VendorRefused, match="invalid_api_key"):
        read(transcriber).next()


def test_an_expired_session_is_unavailable(sandbox: Sandbox) -> None:
    sandbox.openai.session_s = 0.05
    reader = ready(transcriber_at(sandbox))
    with pytest.raises(VendorUnavailable, match="session_expired"):
        reader.next()


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4000])
def test_a_close_is_unavailable_and_told_with_code_and_reason(sandbox: Sandbox, code: int) -> None:
    sandbox.openai.faults.append(faults.CloseAt("append", code, "enough"))
    transcriber = transcriber_at(sandbox)
    reader = ready(transcriber)
    say(transcriber, SILENCE * 320)
    with pytest.raises(VendorUnavailable, match=f"closed the connection: {code} enough"):
        reader.next()


@pytest.mark.parametrize("moment", ["connect", "update", "append"])
def test_a_lost_connection_is_unavailable_at_any_moment(sandbox: Sandbox, moment: faults.Moment) -> None:
    sandbox.openai.faults.append(faults.DropAt(moment))
    transcriber = transcriber_at(sandbox)
    with pytest.raises(VendorUnavailable):
        reader = read(transcriber)
        say(transcriber, SILENCE * 3200)
        while reader.next():
            say(transcriber, SILENCE * 3200)


def test_a_session_that_is_never_configured_is_given_up_whatever_else_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transcription_session, "READY_TIMEOUT_S", -1.0)  # over, as soon as the next message comes
    with scripted({"type": "rate_limits.updated"}, configured=False) as reader:
        with pytest.raises(VendorUnavailable, match="was not ready within"):
            reader.next()


def test_shutdown_wakes_the_reader_and_the_writer_is_not_disturbed(sandbox: Sandbox) -> None:
    transcriber = transcriber_at(sandbox)
    transcriber.shutdown()  # before it was ever connected
    reader = ready(transcriber)
    transcriber.shutdown()
    with pytest.raises(VendorUnavailable):
        reader.next()
    say(transcriber, SILENCE * 3200)
    session: Session = sandbox.openai.sessions[0]
    until(lambda: session.closed, "the end of the session")
