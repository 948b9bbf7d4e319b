"""What the server's detector promises, on parts of the labelled set; the whole of it is `python -m tests.detectors`."""

import pytest

from tests.detectors import sounds
from tests.detectors.candidates import SILENCE_MS, Candidate, Judged
from tests.detectors.loudness import Loudness
from tests.detectors.scenes import LINES, ROOMS, SPEECH_NOISES, Said, Scene, heard, spoken
from tests.detectors.scores import Score, percentile, score
from voice.core.endpointing import Endpointing, Speech

LEVELS = (-55.0, -48.0, -42.0, -36.0)


def ours() -> Endpointing:
    return Endpointing(SILENCE_MS)


def of_sound(name: str, ms: int, levels: tuple[float, ...] = LEVELS) -> list[Scene]:
    table = LINES | ROOMS
    return [Scene(name, heard(table[name](ms, dbfs, 40 + number))) for number, dbfs in enumerate(levels)]


def over(noise: str, ratio: int) -> Scene:
    return spoken("over noise", -22.0, 5, lambda ms, seed: SPEECH_NOISES[noise](ms, -22.0 - ratio, seed))


@pytest.mark.parametrize("name", LINES)
def test_two_minutes_of_each_line_noise_are_no_speech(name: str) -> None:
    assert score(ours, of_sound(name, 30_000)).false_starts[name] == 0


@pytest.mark.parametrize("name", ["fan", "street", "clicks", "keyboard", "noise begins"])
def test_what_is_around_the_caller_is_no_speech(name: str) -> None:
    assert score(ours, of_sound(name, 20_000)).false_starts[name] == 0


def test_of_ten_door_slams_nine_are_no_speech_and_loudness_alone_falls_for_all() -> None:
    doors = of_sound("door slams", 40_000)
    by_loudness = score(lambda: Judged(Loudness(), 4, 5), doors).false_starts["door slams"]
    assert by_loudness >= 30
    assert score(ours, doors).false_starts["door slams"] <= by_loudness / 10


@pytest.mark.parametrize("dbfs", [-15.0, -25.0, -40.0])
def test_on_a_clean_line_nothing_is_missed_and_speech_is_noticed_in_time(dbfs: float) -> None:
    scene = spoken("clean", dbfs, 1, lambda ms, seed: sounds.white(ms, -62.0, seed))
    found = score(ours, [scene])
    assert found.missed["clean"] == found.false_starts["clean"] == 0
    assert (percentile(found.onsets["clean"], 0.5) or 999) <= 120
    # A voice is noticed at once; a hiss or a breath before it is waited for, or every rustle would interrupt.
    assert (percentile(found.voiced_onsets["clean"], 0.75) or 999) <= 120
    assert (percentile(found.ends["clean"], 0.95) or 999) <= 40


@pytest.mark.parametrize(("noise", "ratio"), [("white", 10), ("street", 10), ("hum 50 Hz", 10), ("fan", 5)])
def test_speech_is_heard_over_noise(noise: str, ratio: int) -> None:
    found = score(ours, [over(noise, ratio)])
    assert found.missed["over noise"] <= 1
    assert found.false_starts["over noise"] == 0


def test_a_call_costs_less_than_three_thousandths_of_a_core() -> None:
    assert score(ours, [over("white", 10)]).core_share < 0.003


# The scores themselves


class Script:
    """Says what it was told to say, at the frames it was told to."""

    def __init__(self, changes: dict[int, Speech]) -> None:
        self._changes, self._ms = changes, 0

    def feed(self, mulaw: bytes) -> list[Speech]:
        self._ms += 20
        return [self._changes[self._ms]] if self._ms in self._changes else []


def scripted(*changes: int) -> Score:
    """Starts and stops in turn, against an utterance from 1000 to 2000 ms and one from 5000 to 6000 ms."""
    scene = Scene("x", bytes(8 * 10_000), (Said(1000, 2000, True), Said(5000, 6000, False)))
    kinds = (Speech.STARTED, Speech.STOPPED)
    return score(lambda: Script({at: kinds[i % 2] for i, at in enumerate(changes)}), [scene])


def test_a_good_detector_has_a_good_score() -> None:
    found = scripted(1080, 2520, 5060, 6500)
    assert (found.missed["x"], found.false_starts["x"], found.utterances["x"]) == (0, 0, 2)
    assert (found.onsets["x"], found.voiced_onsets["x"], found.ends["x"]) == ([80, 60], [80], [20, 0])
    assert found.minutes["x"] == pytest.approx(1 / 6)


def test_one_that_hears_nothing_misses_all() -> None:
    assert scripted().missed["x"] == 2


def test_one_that_never_stops_has_missed_what_comes_later() -> None:
    found = scripted(1080)
    assert (found.missed["x"], found.false_starts["x"]) == (1, 0)


def test_a_start_where_nobody_speaks_is_false() -> None:
    found = scripted(400, 700, 1080, 2500, 3000, 3500, 5080, 6500)
    assert (found.missed["x"], found.false_starts["x"]) == (0, 2)


def test_a_detector_without_its_package_is_not_installed() -> None:
    assert not Candidate("x", ours, "no_such_module").installed
    assert Candidate("x", ours).installed
