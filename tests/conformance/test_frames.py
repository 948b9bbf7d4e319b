"""Our end of a WebSocket against the cases of the Autobahn test suite, by the bytes, under gunicorn."""

import pytest

from tests.conformance.cases import CASES, KOSME, Case
from tests.conformance.raw import BINARY, CLOSE, CONT, MASK, PING, TEXT, Came, close, frame, message, upgrade
from voice.wires.stream_socket import MAX_MESSAGE_BYTES

MB = 1 << 20


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_case_of_the_suite(echo: tuple[str, int], case: Case) -> None:
    raw = upgrade(echo)
    if case.code is None:
        raw.send(case.sent, case.chop)
        assert [raw.next() for _ in case.comes] == list(case.comes)
        raw.send(case.bye)
    else:
        raw.offer(case.sent, case.chop)
    *before, last = raw.rest(orderly=case.code is None)
    assert (last.opcode, last.code) == (CLOSE, case.echoed if case.code is None else case.code)
    if case.code is None:
        assert before == [], "something came after the messages that were sent"
    else:
        # What was sent before the broken rule may be answered or not.
        assert before in ([], list(case.comes))
    raw.sock.close()


def test_ids_are_given_once() -> None:
    assert len({case.id for case in CASES}) == len(CASES) > 300


# 6.4: text that cannot become UTF-8 any more is refused before it is complete


@pytest.mark.parametrize("good", [KOSME, KOSME + b"\xf4"], ids=["6.4.1", "6.4.2"])
def test_text_is_refused_at_the_fragment_that_spoils_it(echo: tuple[str, int], good: bytes) -> None:
    raw = upgrade(echo)
    raw.send(frame(TEXT, good, fin=False) + frame(PING, b"well?"))
    assert raw.next() == Came(10, b"well?"), "what can still be text is waited for"
    raw.send(frame(CONT, (KOSME + b"\xf4\x90\x80\x80")[len(good) :], fin=False))
    (last,) = raw.rest(orderly=False)
    assert (last.opcode, last.code) == (CLOSE, 1007)


@pytest.mark.parametrize("at", [len(KOSME), len(KOSME) + 2], ids=["6.4.3", "6.4.4"])
def test_text_is_refused_at_the_end_of_its_frame(echo: tuple[str, int], at: int) -> None:
    raw = upgrade(echo)
    whole = frame(TEXT, KOSME + b"\xf4\x90\x80\x80edited")
    raw.send(whole[: 6 + at])
    raw.send(whole[6 + at :])
    (last,) = raw.rest(orderly=False)
    assert (last.opcode, last.code) == (CLOSE, 1007)


# 7.1.6, 7.13: the standard leaves open what comes; ours ends in good order all the same


def test_a_long_message_and_a_close_behind_it_7_1_6(echo: tuple[str, int]) -> None:
    raw = upgrade(echo, f"/{MB}")
    raw.send(frame(TEXT, b"*" * (256 << 10)) + frame(TEXT, b"Hello World!") + close() + frame(PING))
    assert raw.rest()[-1].code == 1000


# 9: great messages


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [64 << 10, 256 << 10, MB, 4 * MB, 8 * MB, 16 * MB])
def test_great_messages_come_back_whole_9_1_9_2(echo: tuple[str, int], opcode: int, size: int) -> None:
    raw = upgrade(echo, f"/{16 * MB}")
    payload = bytes(range(32, 127)) * (size // 95) + b"!" * (size % 95)
    raw.send(frame(opcode, payload))
    assert raw.next() == Came(opcode, payload)
    raw.send(close())
    (last,) = raw.rest(orderly=False)
    assert last.code == 1000


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("fragment", [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, MB, 4 * MB])
def test_great_messages_in_fragments_9_3_9_4(echo: tuple[str, int], opcode: int, fragment: int) -> None:
    size = 4 * MB if fragment >= 4 << 10 else 256 * fragment
    raw = upgrade(echo, f"/{16 * MB}")
    raw.send(message(b"*" * size, fragment, opcode))
    assert raw.next() == Came(opcode, b"*" * size)


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("chop", [64, 128, 256, 512, 1024, 2048])
def test_great_messages_in_small_packets_9_5_9_6(echo: tuple[str, int], opcode: int, chop: int) -> None:
    raw = upgrade(echo, f"/{MB}")
    raw.send(frame(opcode, b"*" * (chop * 512)), chop)
    assert raw.next() == Came(opcode, b"*" * (chop * 512))


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 16, 64, 256, 1024, 4096])
def test_message_after_message_9_7_9_8(echo: tuple[str, int], opcode: int, size: int) -> None:
    raw = upgrade(echo)
    for _ in range(100):
        raw.send(frame(opcode, b"*" * size))
        assert raw.next() == Came(opcode, b"*" * size)


@pytest.mark.threat(18)
@pytest.mark.parametrize(
    "sent",
    [
        frame(TEXT, b"*" * (MAX_MESSAGE_BYTES + 1)),
        frame(BINARY, b"*" * (MAX_MESSAGE_BYTES + 1)),
        frame(TEXT, b"*" * MB),
        b"\x81\xff" + (1 << 62).to_bytes(8, "big") + MASK,
        message(b"*" * (MAX_MESSAGE_BYTES + 1), 1024),
        message(b"*" * (MAX_MESSAGE_BYTES + 1), MAX_MESSAGE_BYTES),
        frame(TEXT, b"*" * MAX_MESSAGE_BYTES, fin=False) + frame(CONT, b"*", fin=False),
    ],
    ids=["text", "binary", "1 MB", "2^62 promised", "fragments", "one byte more", "never ending"],
)
def test_what_is_greater_than_64_kb_is_refused_as_too_great(echo: tuple[str, int], sent: bytes) -> None:
    raw = upgrade(echo)
    raw.offer(sent)
    (last,) = raw.rest(orderly=False)
    assert (last.opcode, last.code) == (CLOSE, 1009)


# 12 and 13: compression


@pytest.mark.threat(18)
@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover, permessage-deflate",
        "x-webkit-deflate-frame",
    ],
)
def test_compression_is_not_agreed_to_and_compressed_frames_are_refused(echo: tuple[str, int], offer: str) -> None:
    raw = upgrade(echo, headers={"Sec-WebSocket-Extensions": offer})
    assert "sec-websocket-extensions" not in raw.headers
    raw.send(frame(TEXT, b"plain"))
    assert raw.next() == Came(TEXT, b"plain")
    raw.send(frame(TEXT, b"\xf2\x48\xcd\xc9\xc9\x07\x00", rsv=4))
    (last,) = raw.rest(orderly=False)
    assert (last.opcode, last.code) == (CLOSE, 1002)
