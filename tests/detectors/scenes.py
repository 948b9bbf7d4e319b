"""The labelled set: what comes from callers, and the true beginning and end of all that is said in it."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.detectors import sounds, speakers
from voice.core.audio import FRAME_BYTES, encode

LINE_MS = 120_000
ROOM_MS = 60_000
LEAD_MS = 3000
"""The line is heard for so long before the first word."""

Sound = Callable[[int, float, int], bytes]
"""Takes milliseconds, dBFS and a seed."""


@dataclass(frozen=True)
class Said:
    """One utterance; milliseconds from the beginning of the scene."""

    start_ms: int
    end_ms: int
    begins_voiced: bool


@dataclass(frozen=True)
class Scene:
    name: str
    """Of its class: scenes of the same name are counted together."""
    mulaw: bytes
    said: tuple[Said, ...] = ()
    """None where nobody speaks to us."""


LINES: dict[str, Sound] = {
    "white": sounds.white,
    "pink": sounds.pink,
    "hum 50 Hz": lambda ms, dbfs, seed: sounds.hum(ms, dbfs, 50, seed),
    "hum 60 Hz": lambda ms, dbfs, seed: sounds.hum(ms, dbfs, 60, seed),
    "comfort noise": lambda ms, dbfs, seed: sounds.comfort(ms, dbfs - 10, seed),
    "lost packets": lambda ms, dbfs, seed: sounds.with_losses(sounds.pink(ms, dbfs, seed), 0.05, seed),
    "crackle": lambda ms, dbfs, seed: sounds.crackle(ms, dbfs + 20, seed),
}
"""What the line itself does; ten minutes of each, five calls of different loudness."""
LINE_LEVELS = (-65.0, -55.0, -48.0, -42.0, -36.0)

ROOMS: dict[str, Sound] = {
    "fan": sounds.fan,
    "street": sounds.street,
    "babble": speakers.babble,
    "music": sounds.music,
    "clicks": lambda ms, dbfs, seed: _now_and_then(ms, dbfs + 20, seed, sounds.click),
    "door slams": lambda ms, dbfs, seed: _now_and_then(ms, dbfs + 25, seed, sounds.door),
    "keyboard": lambda ms, dbfs, seed: sounds.keystrokes(ms, dbfs + 15, seed),
    "key tones": lambda ms, dbfs, seed: _now_and_then(ms, dbfs + 20, seed, _pressed),
    "noise begins": lambda ms, dbfs, seed: _now_and_then(ms, dbfs + 5, seed, _stretch),
}
"""What is around the caller; five minutes of each."""
ROOM_LEVELS = (-55.0, -48.0, -42.0, -36.0, -32.0)

AGENT_DBFS = -20.0
ECHOES_DB = (-20.0, -25.0, -30.0, -35.0)

SPEECH_NOISES: dict[str, Sound] = {
    "white": sounds.white,
    "pink": sounds.pink,
    "hum 50 Hz": LINES["hum 50 Hz"],
    "fan": sounds.fan,
    "street": sounds.street,
    "babble": ROOMS["babble"],
}
SPEECH_LEVELS = (-15.0, -25.0, -32.0, -40.0)
RATIOS_DB = (20, 10, 5)


def quiet_scenes() -> Iterator[Scene]:
    """Where nobody speaks: every start is a false one."""
    for table, levels, ms in ((LINES, LINE_LEVELS, LINE_MS), (ROOMS, ROOM_LEVELS, ROOM_MS)):
        for name, sound in table.items():
            for number, dbfs in enumerate(levels):
                hiss = sounds.white(ms, -66, 900 + number)
                yield Scene(name, heard(sounds.mixed(sound(ms, dbfs, 100 + number), hiss)))
    for number, echo_db in enumerate(ECHOES_DB):
        voice = sounds.mixed(speakers.talk(LINE_MS, AGENT_DBFS + echo_db, 300 + number), _hiss(LINE_MS, number))
        yield Scene(f"echo {echo_db:.0f} dB", heard(voice))


def spoken_scenes() -> Iterator[Scene]:
    """A caller who says all the sentences: on a clean line at several levels, and over noise."""
    for draw in range(0, 20, 10):
        for number, dbfs in enumerate(SPEECH_LEVELS):
            yield spoken(f"clean, {dbfs:.0f} dBFS", dbfs, draw + number, _hiss)
        for ratio in RATIOS_DB:
            for number, (name, noise) in enumerate(SPEECH_NOISES.items()):
                yield spoken(f"{name}, {ratio} dB", -22.0, draw + number, _under(noise, -22.0 - ratio))


def spoken(name: str, dbfs: float, number: int, noise: Callable[[int, int], bytes]) -> Scene:
    """Each sentence twice, with pauses of 1.5 to 3 s; `noise` takes milliseconds and a seed."""
    source = random.Random(500 + number)
    pieces: list[tuple[int, bytes]] = []
    said: list[Said] = []
    at = LEAD_MS
    for turn in range(2 * len(speakers.SENTENCES)):
        words = speakers.utterance(turn, turn + number, dbfs, source.choice(speakers.SPEEDS))
        pieces.append((at, words.pcm))
        said.append(Said(at, at + words.ms, words.begins_voiced))
        at += words.ms + source.randrange(1500, 3000)
    return Scene(name, heard(sounds.mixed(sounds.laid(at, pieces), noise(at, 700 + number))), tuple(said))


def heard(pcm: bytes) -> bytes:
    """As the line carries it: mu-law, whole frames."""
    mulaw = encode(pcm)
    return mulaw[: len(mulaw) - len(mulaw) % FRAME_BYTES]


def _hiss(ms: int, seed: int) -> bytes:
    return sounds.white(ms, -62, seed)


def _under(noise: Sound, dbfs: float) -> Callable[[int, int], bytes]:
    return lambda ms, seed: noise(ms, dbfs, seed)


def _now_and_then(ms: int, dbfs: float, seed: int, sound: Callable[[float, int], bytes]) -> bytes:
    source = random.Random(seed)
    pieces: list[tuple[int, bytes]] = []
    at = 2000
    while at < ms:
        pieces.append((at, sound(dbfs + source.uniform(-5, 5), seed * 1000 + len(pieces))))
        at += source.randrange(1500, 5000)
    return sounds.laid(ms, pieces)


def _pressed(dbfs: float, seed: int) -> bytes:
    return sounds.key_tone(random.Random(seed).choice((70, 100, 200)), dbfs, seed)


def _stretch(dbfs: float, seed: int) -> bytes:
    """A noise that is suddenly there for some seconds: a tap, a kettle, a vacuum cleaner."""
    source = random.Random(seed)
    return source.choice((sounds.white, sounds.pink, sounds.fan))(source.randrange(50, 200) * 20, dbfs, seed)
