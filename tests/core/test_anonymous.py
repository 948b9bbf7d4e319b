"""A call's log with personal data replaced: the same actions, and no word of the caller's."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice.core import anonymous, call_log, story, story_log

CALLS = sorted((Path(__file__).parents[1] / "calls").glob("*.jsonl"))
PERSONAL = ("appointment", "tuesday", "address", "riverside", "mill lane", "ca75822278")


@pytest.mark.parametrize("path", CALLS, ids=lambda path: path.stem)
def test_a_case_takes_the_way_of_its_call(path: Path) -> None:
    lines = path.read_text().splitlines()
    case = anonymous.case(lines)
    assert case.is_same
    replayed = call_log.replay(case.lines)
    assert replayed.differences == [] and replayed.events == call_log.replay(lines).events


def test_nothing_personal_is_left() -> None:
    (demo,) = [path for path in CALLS if path.stem == "demo_call_with_barge_in"]
    text = "\n".join(anonymous.case(demo.read_text().splitlines()).lines).lower()
    assert [word for word in PERSONAL if word.lower() in text] == []
    assert "front_desk" in text and "send_sms" in text, "names of ours stay"
    assert "{{patient_number}}" in text


def test_its_story_is_the_same_but_for_the_words() -> None:
    (demo,) = [path for path in CALLS if path.stem == "demo_call_with_barge_in"]
    before, after = (story_log.read(lines) for lines in (_lines(demo), anonymous.case(_lines(demo)).lines))
    assert story.tell(before.record).verdict == story.tell(after.record).verdict
    said = [[turn["caller"] for turn in read.record["turns"]] for read in (before, after)]
    assert [list(map(len, each)) for each in said][0] == list(map(len, said[1]))
    assert said[0] != said[1]


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_two_cases_of_one_call_have_other_words() -> None:
    one, two = (anonymous.case(_lines(CALLS[0])).lines for _ in range(2))
    assert one != two


@given(st.text(max_size=60))
def test_a_text_keeps_its_length_its_signs_and_the_words_that_decide(text: str) -> None:
    head = json.loads(_lines(CALLS[0])[0])
    translation = anonymous._Translation([head])
    told = translation.text(f"{text} and [firm]Five {{{{pin}}}}, mm-hm")
    assert len(told) == len(text) + 30
    assert told.endswith(" and [firm]Five {{pin}}, mm-hm")
    assert translation.text(text) == told[: len(text)]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"t": 1, "event": "CallerHungUp"}', '{"rules": {}}'])
def test_what_is_no_log_is_no_case(text: str) -> None:
    with pytest.raises(ValueError, match="no call's"):
        anonymous.case(text.splitlines())
