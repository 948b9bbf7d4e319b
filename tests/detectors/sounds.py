"""Sounds of a telephone line and of the rooms at its end: PCM16 at 8 kHz, each from a seed, the same on every machine.

Everything is built with `random` and `audioop`, which work in C: ten minutes of noise take a fraction of a second.
Levels are in dB below full scale (dBFS): rms against 32768.
"""

import audioop
import math
import random
from array import array
from functools import lru_cache
from itertools import cycle, islice

RATE = 8000
PER_MS = 8
HUM_HARMONICS = (1.0, 0.3, 0.6, 0.2, 0.35, 0.1, 0.2)


def silence(ms: int) -> bytes:
    return bytes(2 * PER_MS * ms)


def level_of(pcm: bytes) -> float:
    """dBFS; -100 of silence."""
    rms = audioop.rms(pcm, 2)
    return 20 * math.log10(rms / 32768) if rms else -100.0


def at_level(pcm: bytes, dbfs: float) -> bytes:
    return gain(pcm, dbfs - level_of(pcm))


def gain(pcm: bytes, db: float) -> bytes:
    return audioop.mul(pcm, 2, 10 ** (db / 20))


def mixed(*sounds: bytes) -> bytes:
    """As long as the longest; what is too loud is clipped, as a line does."""
    longest = max(map(len, sounds))
    total = bytes(longest)
    for sound in sounds:
        total = audioop.add(total, sound + bytes(longest - len(sound)), 2)
    return total


def laid(ms: int, pieces: list[tuple[int, bytes]]) -> bytes:
    """Sounds at their times, in ms, in silence of this length; later ones replace what they overlap."""
    whole = bytearray(silence(ms))
    for at_ms, piece in pieces:
        place = 2 * PER_MS * at_ms
        whole[place : place + len(piece)] = piece[: len(whole) - place]
    return bytes(whole)


def shaped(pcm: bytes, gains_db: list[float], step_ms: int) -> bytes:
    """Its loudness changed every `step_ms`."""
    step = 2 * PER_MS * step_ms
    return b"".join(gain(pcm[i * step : (i + 1) * step], db) for i, db in enumerate(gains_db))


def low(pcm: bytes, weight: int) -> bytes:
    """One-pole low-pass: each sample is 1 part new and `weight` parts old."""
    return audioop.ratecv(pcm, 2, 1, RATE, RATE, None, 1, weight)[0]


def high(pcm: bytes, weight: int) -> bytes:
    """What `low` takes away."""
    return audioop.add(pcm, audioop.mul(low(pcm, weight), 2, -1), 2)


# Noise without end


def white(ms: int, dbfs: float, seed: int) -> bytes:
    source = random.Random(seed)
    parts = [audioop.mul(source.randbytes(2 * PER_MS * ms), 2, 0.25) for _ in range(4)]
    return at_level(mixed(*parts), dbfs)


def pink(ms: int, dbfs: float, seed: int) -> bytes:
    """Equal power in every octave: white noises of half the rate each, on top of each other."""
    octaves = []
    for octave in range(6):
        slow = white(-(-ms >> octave) + 10, -26, seed * 10 + octave)
        octaves.append(audioop.ratecv(slow, 2, 1, RATE >> octave, RATE, None)[0][: 2 * PER_MS * ms])
    return at_level(mixed(*octaves), dbfs)


def hum(ms: int, dbfs: float, mains_hz: int, seed: int) -> bytes:
    """The mains and its harmonics, over a little hiss."""
    phases = random.Random(seed)
    tones = [(mains_hz * (k + 1), strength, phases.random()) for k, strength in enumerate(HUM_HARMONICS)]
    second = array("h", (int(8000 * _sum(tones, n / RATE)) for n in range(RATE))).tobytes()
    return mixed(at_level(_repeated(second, ms), dbfs), white(ms, dbfs - 20, seed))


def _sum(tones: list[tuple[int, float, float]], t: float) -> float:
    return sum(strength * math.sin(2 * math.pi * (hz * t + phase)) for hz, strength, phase in tones)


def fan(ms: int, dbfs: float, seed: int) -> bytes:
    """Rushing air, its blades heard in it nine times a second."""
    air = low(white(ms, -20, seed), 3)
    beat = [1.5 * math.sin(2 * math.pi * 9 * i / 100) for i in range(100)]
    return at_level(shaped(air, list(islice(cycle(beat), ms // 10)), 10), dbfs)


def street(ms: int, dbfs: float, seed: int) -> bytes:
    """Traffic: a rumble, and cars that come and go, 18 dB above it at most; `dbfs` is the average."""
    source = random.Random(seed)
    gains = [0.0] * (ms // 20)
    at = 0
    while at < len(gains):
        rise, peak = source.randrange(40, 200), source.uniform(6, 18)
        for i in range(2 * rise):
            if at + i < len(gains):
                gains[at + i] = max(gains[at + i], peak * math.sin(math.pi * i / (2 * rise)) ** 2)
        at += source.randrange(100, 500)
    jitter = [db + source.gauss(0, 1) for db in gains]
    return at_level(shaped(low(pink(ms, -30, seed), 1), jitter, 20), dbfs)


def comfort(ms: int, dbfs: float, seed: int) -> bytes:
    """Comfort noise that a gateway switches on and off, with nothing between."""
    source = random.Random(seed)
    noise = low(white(ms, -20, seed), 1)
    gains: list[float] = []
    while len(gains) < ms // 20:
        gains += [0.0] * source.randrange(20, 200) + [-100.0] * source.randrange(5, 100)
    return gain(shaped(noise, gains[: ms // 20], 20), dbfs - level_of(noise))


def with_losses(pcm: bytes, share: float, seed: int) -> bytes:
    """Packets of 20 ms lost, one to three at a time; nothing is heard in their place."""
    source = random.Random(seed)
    damaged, frame = bytearray(pcm), 2 * PER_MS * 20
    for place in range(0, len(pcm) - frame, frame):
        if source.random() < share / 2:
            end = min(len(pcm), place + frame * source.randrange(1, 4))
            damaged[place:end] = bytes(end - place)
    return bytes(damaged)


def crackle(ms: int, dbfs: float, seed: int) -> bytes:
    """A bad contact: impulses of 1 to 5 ms, alone and in rows, over hiss; `dbfs` is an impulse's."""
    source = random.Random(seed)
    pieces, at = [], 0
    while at < ms - 10:
        pieces.append((at, gain(white(source.randrange(1, 6), -10, seed + at), dbfs + 10)))
        at += source.choice((source.randrange(8, 60), source.randrange(200, 3000)))
    return mixed(laid(ms, pieces), white(ms, -58, seed))


# Sounds with a beginning and an end


def click(dbfs: float, seed: int) -> bytes:
    return white(random.Random(seed).randrange(2, 30), dbfs, seed)


def door(dbfs: float, seed: int) -> bytes:
    """A slam: a dull burst and the ringing of the room, which die away by 60 dB in 150 to 900 ms; often a latch too."""
    source = random.Random(seed)
    die_ms, dull = source.randrange(150, 900), source.randrange(1, 8)
    modes = tuple(source.uniform(60, 400) for _ in range(source.randrange(1, 5)))
    burst = at_level(low(white(die_ms, -12, seed), dull), -20)
    ringing = at_level(_tone(modes, die_ms, seed), -20 + source.uniform(-12, 3))
    gains = [-60 * i * 5 / die_ms for i in range(-(-die_ms // 5))]
    slam = shaped(mixed(burst, ringing), gains, 5)
    loud = max(level_of(slam[i : i + 160]) for i in range(0, len(slam), 160))
    slam = gain(slam, dbfs - loud)
    if source.random() < 0.5:
        return click(dbfs - 6, seed) + silence(source.randrange(30, 120)) + slam
    return mixed(slam, silence(source.randrange(60, 200)) + gain(slam, -8))


def keystrokes(ms: int, dbfs: float, seed: int) -> bytes:
    """Typing in bursts: each key a short noise down and a softer one up."""
    source = random.Random(seed)
    pieces, at = [], 200
    while at < ms - 300:
        for _ in range(source.randrange(4, 30)):
            down = high(white(source.randrange(8, 25), -12, seed + at), 2)
            pieces.append((at, at_level(down, dbfs + source.gauss(0, 2))))
            pieces.append((at + source.randrange(60, 100), at_level(down[: len(down) // 32 * 16], dbfs - 10)))
            at += source.randrange(110, 260)
        at += source.randrange(500, 4000)
    return laid(ms, sorted(pieces))


@lru_cache(256)
def _tone(frequencies: tuple[float, ...], ms: int, seed: int) -> bytes:
    phases = random.Random(seed)
    tones = [(hz, phases.random()) for hz in frequencies]
    scale = 12000 / len(tones)
    return array(
        "h",
        (
            int(scale * sum(math.sin(2 * math.pi * (hz * n / RATE + phase)) for hz, phase in tones))
            for n in range(PER_MS * ms)
        ),
    ).tobytes()


def key_tone(ms: int, dbfs: float, seed: int) -> bytes:
    """Two tones at once, as a keypad's."""
    source = random.Random(seed)
    pair = (source.choice((697, 770, 852, 941)), source.choice((1209, 1336, 1477)))
    return at_level(_tone(pair, ms, 1), dbfs)


def music(ms: int, dbfs: float, seed: int) -> bytes:
    """Chords that are struck and die away, a bass, a melody in eighths, a drum; 100 beats a minute."""
    source = random.Random(seed)
    beat = 600
    played = bytearray()
    while len(played) < 2 * PER_MS * ms:
        root = source.choice((110.0, 130.8, 146.8, 98.0))
        chord = tuple(root * 2 * ratio * k for ratio in (1, source.choice((1.2, 1.26)), 1.5) for k in (1, 2))
        struck = shaped(_tone(chord, 4 * beat, 1), [-i * 0.35 for i in range(4 * beat // 50)], 50)
        bass = shaped(_tone((root, 2 * root), 4 * beat, 2), [-(i % 12) * 1.0 for i in range(4 * beat // 50)], 50)
        eighths = [
            shaped(_tone((round(root * 4 * 2 ** (source.choice((0, 2, 4, 7, 9)) / 12), 1),), beat // 2, 3), _DECAY, 10)
            for _ in range(8)
        ]
        drum = shaped(low(white(120, -12, 7), 3), [-2.0 * i for i in range(12)], 10)
        snare = shaped(high(white(120, -16, 8), 1), [-2.0 * i for i in range(12)], 10)
        drums = laid(4 * beat, [(0, drum), (beat, snare), (2 * beat, drum), (3 * beat, snare)])
        played += mixed(gain(struck, -3), gain(bass, -6), gain(b"".join(eighths), -6), drums)
    return at_level(bytes(played[: 2 * PER_MS * ms]), dbfs)


_DECAY = [-0.5 * i for i in range(30)]


def _repeated(pcm: bytes, ms: int) -> bytes:
    return (pcm * (ms // 1000 + 1))[: 2 * PER_MS * ms]
