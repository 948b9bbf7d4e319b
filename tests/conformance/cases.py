"""Cases of the Autobahn test suite, sections 1 to 7 and 10: the bytes that are sent and what has to come back.

The ids are the suite's own. Where it calls two behaviours right, `comes` may be cut short by the close (its
"non-strict": what was sent before a broken rule need not be answered first).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.conformance.raw import BINARY, CONT, PING, PONG, TEXT, Came, close, frame, message


@dataclass(frozen=True)
class Case:
    id: str
    sent: bytes
    comes: tuple[Came, ...] = ()
    """Before the close; the close is ours, with 1000, unless `code` says what the server's has to be."""
    code: int | None = None
    chop: int = 0
    bye: bytes = close()
    """What we close with; `echoed` is the code that answers it."""
    echoed: int | None = 1000


HELLO = b"Hello, world!"
NO_TEXT = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"


def _ok(id_: str, sent: bytes, *comes: Came, chop: int = 0) -> Case:
    return Case(id_, sent, comes, chop=chop)


def _bad(id_: str, sent: bytes, *comes: Came, code: int = 1002, chop: int = 0) -> Case:
    return Case(id_, sent, comes, code, chop)


def section_1() -> Iterator[Case]:
    """Messages of every kind of length."""
    sizes = ((0, 0), (125, 0), (126, 0), (127, 0), (128, 0), (65535, 0), (65536, 0), (65536, 997))
    for number, (size, chop) in enumerate(sizes, 1):
        yield _ok(f"1.1.{number}", frame(TEXT, b"*" * size), Came(TEXT, b"*" * size), chop=chop)
        yield _ok(f"1.2.{number}", frame(BINARY, b"\xfe" * size), Came(BINARY, b"\xfe" * size), chop=chop)


def section_2() -> Iterator[Case]:
    """Pings and pongs."""
    for number, payload in enumerate((b"", HELLO, NO_TEXT, b"\xfe" * 125), 1):
        yield _ok(f"2.{number}", frame(PING, payload), Came(PONG, payload))
    yield _bad("2.5", frame(PING, b"\xfe" * 126))
    yield _ok("2.6", frame(PING, b"\xfe" * 125), Came(PONG, b"\xfe" * 125), chop=1)
    yield _ok("2.7", frame(PONG))
    yield _ok("2.8", frame(PONG, b"unsolicited"))
    yield _ok("2.9", frame(PONG, b"unsolicited") + frame(PING, b"ping"), Came(PONG, b"ping"))
    ten = [b"payload-%d" % n for n in range(10)]
    for number, chop in ((10, 0), (11, 1)):
        yield _ok(f"2.{number}", b"".join(frame(PING, p) for p in ten), *(Came(PONG, p) for p in ten), chop=chop)


def section_3() -> Iterator[Case]:
    """Reserved bits without an extension that gives them a meaning."""
    good, echo = frame(TEXT, HELLO), Came(TEXT, HELLO)
    yield _bad("3.1", frame(TEXT, HELLO, rsv=1))
    yield _bad("3.2", good + frame(TEXT, HELLO, rsv=2) + frame(PING), echo)
    yield _bad("3.3", good + frame(TEXT, HELLO, rsv=3) + frame(PING), echo, chop=19)
    yield _bad("3.4", good + frame(TEXT, HELLO, rsv=4) + frame(PING), echo, chop=1)
    yield _bad("3.5", frame(BINARY, NO_TEXT, rsv=5))
    yield _bad("3.6", frame(PING, HELLO, rsv=6))
    yield _bad("3.7", frame(8, b"\x03\xe8", rsv=7))


def section_4() -> Iterator[Case]:
    """Opcodes that are none."""
    good, echo = frame(TEXT, HELLO), Came(TEXT, HELLO)
    for part, opcodes in ((1, range(3, 8)), (2, range(11, 16))):
        a, b, c, d, e = opcodes
        yield _bad(f"4.{part}.1", frame(a))
        yield _bad(f"4.{part}.2", frame(b, b"reserved"))
        yield _bad(f"4.{part}.3", good + frame(c) + frame(PING), echo)
        yield _bad(f"4.{part}.4", good + frame(d, HELLO) + frame(PING), echo)
        yield _bad(f"4.{part}.5", good + frame(e, HELLO) + frame(PING), echo, chop=1)


def section_5() -> Iterator[Case]:
    """Fragments."""
    yield _bad("5.1", frame(PING, b"fragment1", fin=False) + frame(CONT, b"fragment2"))
    yield _bad("5.2", frame(PONG, b"fragment1", fin=False) + frame(CONT, b"fragment2"))
    first, last = frame(TEXT, b"fragment1", fin=False), frame(CONT, b"fragment2")
    joined = Came(TEXT, b"fragment1fragment2")
    for number, chop in ((3, 0), (4, 15), (5, 1)):
        yield _ok(f"5.{number}", first + last, joined, chop=chop)
    ping, pong = frame(PING, b"ping payload"), Came(PONG, b"ping payload")
    for number, chop in ((6, 0), (7, 15), (8, 1)):
        yield _ok(f"5.{number}", first + ping + last, pong, joined, chop=chop)
    for number, fin, chop in ((9, 1, 0), (10, 1, 30), (11, 1, 1), (12, 0, 0), (13, 0, 30), (14, 0, 1)):
        stray = frame(CONT, b"non-continuation payload", fin=bool(fin))
        yield _bad(f"5.{number}", stray + frame(TEXT, HELLO), chop=chop)
    yield _bad("5.15", first + last + frame(CONT, b"fragment3", fin=False) + frame(TEXT, b"fragment4"), joined)
    for number, fin in ((16, False), (17, True)):
        yield _bad(f"5.{number}", (frame(CONT, b"fragment1", fin=fin) + first + last) * 2)
    yield _bad("5.18", first + frame(TEXT, b"fragment2"))
    middle = frame(CONT, b"fragment", fin=False)
    pings = frame(PING, b"pongme 1!"), frame(PING, b"pongme 2!")
    all_of_it = first + middle + pings[0] + middle + middle + pings[1] + last
    answers = (
        Came(PONG, b"pongme 1!"),
        Came(PONG, b"pongme 2!"),
        Came(TEXT, b"fragment1" + b"fragment" * 3 + b"fragment2"),
    )
    yield _ok("5.19", all_of_it, *answers)
    yield _ok("5.20", all_of_it, *answers, chop=15)


KOSME = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
# Markus Kuhn's "UTF-8 decoder capability and stress test", by its sections.
GOOD_UTF8 = {
    "5": (b"hello$world", b"hello\xc2\xa2world", b"hello\xe2\x82\xacworld", b"hello\xf0\xa4\xad\xa2world", KOSME),
    "6": (KOSME[:2], KOSME[:5], KOSME[:7], KOSME[:9], KOSME),
    "7": (b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"),
    "9": (b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"),
    "11": (b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf"),
    "22": tuple(chr(plane << 16 | low).encode() for plane in range(17) for low in (0xFFFE, 0xFFFF)),
    "23": tuple(chr(code).encode() for code in range(0xFFF9, 0x10000)),
}
_CUT = (b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfc\x80\x80\x80\x80")
_CUT += (b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf")
_HIGH = (b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xaf\xbf")
_LOW = (b"\xed\xb0\x80", b"\xed\xbf\xbf")
BAD_UTF8 = {
    "6": (KOSME[:1], KOSME[:3], KOSME[:4], KOSME[:6], KOSME[:8], KOSME[:10]),
    "8": (b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"),
    "10": (b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"),
    "11": (b"\xf4\x90\x80\x80",),
    "12": (*((b"\x80\xbf" * 3)[:n] for n in range(1, 7)), b"\xbf", bytes(range(0x80, 0xC0))),
    "13": tuple(
        b"".join(bytes([start]) + b" " for start in range(first, last + 1))
        for first, last in ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))
    ),
    "14": _CUT,
    "15": (b"".join(_CUT),),
    "16": (b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"),
    "17": (b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xfc\x80\x80\x80\x80\xaf"),
    "18": (b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf", b"\xfc\x83\xbf\xbf\xbf\xbf"),
    "19": (b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80", b"\xfc\x80\x80\x80\x80\x80"),
    "20": (*_HIGH, *_LOW, b"\xed\xbe\x80"),
    "21": tuple(high + low for high in _HIGH for low in _LOW),
}


def section_6() -> Iterator[Case]:
    """Text that is UTF-8 and text that is not."""
    yield _ok("6.1.1", frame(TEXT), Came(TEXT, b""))
    empty, more = frame(TEXT, fin=False), frame(CONT, fin=False)
    yield _ok("6.1.2", empty + more + frame(CONT), Came(TEXT, b""))
    yield _ok("6.1.3", empty + frame(CONT, b"middle", fin=False) + frame(CONT), Came(TEXT, b"middle"))
    text = "Hello-µ@ßöäüàá-UTF-8!!".encode()
    yield _ok("6.2.1", frame(TEXT, text), Came(TEXT, text))
    yield _ok("6.2.2", message(text, 13), Came(TEXT, text))
    yield _ok("6.2.3", message(text, 1), Came(TEXT, text))
    yield _ok("6.2.4", message(KOSME, 1), Came(TEXT, KOSME))
    surrogate = KOSME + b"\xed\xa0\x80edited"
    yield _bad("6.3.1", frame(TEXT, surrogate), code=1007)
    yield _bad("6.3.2", message(surrogate, 1), code=1007)
    for part, texts in GOOD_UTF8.items():
        for number, text in enumerate(texts, 1):
            yield _ok(f"6.{part}.good.{number}", frame(TEXT, text), Came(TEXT, text))
            yield _ok(f"6.{part}.good.{number}.pieces", message(text, 1), Came(TEXT, text))
    for part, texts in BAD_UTF8.items():
        for number, text in enumerate(texts, 1):
            yield _bad(f"6.{part}.bad.{number}", frame(TEXT, text), code=1007)
            yield _bad(f"6.{part}.bad.{number}.pieces", message(text, 1), code=1007)


GOOD_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
BAD_CODES = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535)


def section_7() -> Iterator[Case]:
    """Closing: once, in order, and with a code that may stand on the wire."""
    yield _ok("7.1.1", frame(TEXT, HELLO), Came(TEXT, HELLO))
    for number, after in ((2, close()), (3, frame(PING)), (4, frame(TEXT, HELLO))):
        yield Case(f"7.1.{number}", b"", bye=close() + after)
    yield Case("7.1.5", frame(TEXT, b"fragment1", fin=False), bye=close() + frame(CONT, b"fragment2"))
    yield Case("7.3.1", b"", bye=frame(8), echoed=None)
    yield _bad("7.3.2", frame(8, b"a"))
    for number, reason in ((3, b""), (4, b"Hello World!"), (5, b"*" * 123)):
        yield Case(f"7.3.{number}", b"", bye=close(1000, reason))
    yield _bad("7.3.6", close(1000, b"*" * 124))
    yield _bad("7.5.1", close(1000, KOSME + b"\xed\xa0\x80edited"), code=1007)
    for number, code in enumerate(GOOD_CODES, 1):
        yield Case(f"7.7.{number}", b"", bye=close(code), echoed=code)
    for number, code in enumerate(BAD_CODES, 1):
        yield _bad(f"7.9.{number}", close(code))


def section_10() -> Iterator[Case]:
    """A message that the sender's library has cut up."""
    yield _ok("10.1.1", message(b"*" * 65536, 1300), Came(TEXT, b"*" * 65536))


CASES = (
    *section_1(),
    *section_2(),
    *section_3(),
    *section_4(),
    *section_5(),
    *section_6(),
    *section_7(),
    *section_10(),
)
