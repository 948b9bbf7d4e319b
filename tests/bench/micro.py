"""`python -m tests.bench.micro [FRAMES]`: what each step of a caller's frame costs, in microseconds of processor time.

Real sockets of 127.0.0.1. A machine that does other things tells other figures: take the least of some runs.
"""

from gevent import monkey

monkey.patch_all()

import base64  # noqa: E402
import math  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from array import array  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from itertools import islice  # noqa: E402

import gevent  # noqa: E402
import orjson  # noqa: E402
import websocket  # noqa: E402
from websockets.frames import Frame, Opcode  # noqa: E402

from voice.core.audio import FRAME_BYTES, encode  # noqa: E402
from voice.core.endpointing import Endpointing  # noqa: E402
from voice.core.voicing import voicing  # noqa: E402
from voice.wires import beat  # noqa: E402
from voice.wires.caller import Caller  # noqa: E402
from voice.wires.stream_socket import Patience, StreamSocket  # noqa: E402
from voice.wires.vendor_socket import VendorSocket  # noqa: E402

FRAMES = int(sys.argv[1]) if len(sys.argv) > 1 else 6000
STREAM = "MZ" + "0" * 32


def main() -> None:
    quiet = [bytes(255 - random.randrange(2) for _ in range(FRAME_BYTES)) for _ in range(50)]
    texts = [_media(number, quiet[number % 50]) for number in range(FRAMES)]
    for at_once in (1, 2, 4):
        _tell(f"read from the caller's socket, {at_once} at once", FRAMES, _reading(texts, at_once))
    _tell("its JSON and base64", FRAMES, _understanding(texts))
    voiced = list(_voice())
    for name, frames in (("a quiet line", quiet), ("a voice", voiced)):
        _tell(f"speech detection, {name}", FRAMES, _detecting(frames))
    window = b"".join(voiced[100:103])
    _tell("of it, pitch", FRAMES, lambda: [voicing(window) for _ in range(FRAMES)])
    for frames_at_once in (2, 4):
        audio = base64.b64encode(b"".join(quiet[:frames_at_once]))
        message = b'{"type":"input_audio_buffer.append","audio":"%s"}' % audio
        _tell(f"a message of {frames_at_once} frames to the transcriber", FRAMES, _sending(message))
    _tell("a greenlet waits for a beat, of 100 that do", FRAMES, _beating)
    _tell("a greenlet gets its turn", FRAMES, lambda: [gevent.sleep(0) for _ in range(FRAMES)])


def _tell(what: str, count: int, work: Callable[[], object]) -> None:
    began = time.process_time()
    work()
    print(f"{(time.process_time() - began) / count * 1e6:7.1f} us  {what}", flush=True)


def _media(number: int, mulaw: bytes) -> bytes:
    media = {"track": "inbound", "chunk": str(number), "timestamp": str(number * 20)}
    payload = base64.b64encode(mulaw).decode()
    message = {"event": "media", "sequenceNumber": str(number), "media": media | {"payload": payload}}
    return orjson.dumps(message | {"streamSid": STREAM})


def _pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        return near, server.accept()[0]


def _reading(texts: list[bytes], at_once: int) -> Callable[[], object]:
    """The caller's own `sendall` is in it: a twentieth of it with four at once, a fifth alone."""
    phone, ours = _pair()
    stream = StreamSocket(ours)
    framed = [Frame(Opcode.TEXT, text).serialize(mask=True) for text in texts]
    packets = [b"".join(framed[place : place + at_once]) for place in range(0, len(framed), at_once)]

    def work() -> None:
        for packet in packets:
            phone.sendall(packet)
            stream.receive_all(1.0, Patience())

    return work


class _Read(StreamSocket):
    """A stream of which everything has come."""

    def __init__(self, texts: list[bytes]) -> None:
        super().__init__(_pair()[0])
        self._texts = iter(texts)

    def receive_all(self, timeout: float, patience: Patience) -> list[bytes]:
        return list(islice(self._texts, 4)) or [b'{"event":"stop"}']


def _understanding(texts: list[bytes]) -> Callable[[], object]:
    caller = Caller(_Read(texts), "micro")
    caller._started_at = -1e6
    return lambda: list(caller.messages(Patience))


def _voice() -> Iterator[bytes]:
    """Vowels of a low voice, five syllables a second: its pitch falls, its loudness comes and goes."""
    phase = 0.0
    for frame in range(150):
        samples = array("h")
        for sample in range(FRAME_BYTES):
            at_s = (frame * FRAME_BYTES + sample) / 8000
            phase += 2 * math.pi * (150 - 10 * at_s) / 8000
            loud = 4000 * (1.05 + math.sin(2 * math.pi * 5 * at_s))
            samples.append(int(loud * (math.sin(phase) + 0.5 * math.sin(3 * phase) + 0.3 * math.sin(5 * phase)) / 2))
        yield encode(samples.tobytes())


def _detecting(frames: list[bytes]) -> Callable[[], object]:
    endpointing = Endpointing(600)
    pieces = [b"".join(frames[at : at + 4]) for at in range(0, len(frames) - 3, 4)]
    return lambda: [endpointing.feed(pieces[number % len(pieces)]) for number in range(FRAMES // 4)]


def _beating() -> None:
    def listener() -> None:
        for _ in range(FRAMES // 100):
            beat.Pause(1).wait()

    gevent.joinall([gevent.spawn(listener) for _ in range(100)])


def _sending(message: bytes) -> Callable[[], object]:
    near, vendor = _pair()
    sender = VendorSocket.__new__(VendorSocket)  # connected without a handshake
    sender._ws = websocket.WebSocket()
    sender._ws.sock = near
    near.settimeout(1)
    gevent.spawn(_drain, vendor)
    return lambda: [sender.send(message) for _ in range(FRAMES)]


def _drain(vendor: socket.socket) -> None:
    while vendor.recv(1 << 20):
        pass


if __name__ == "__main__":
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    main()
