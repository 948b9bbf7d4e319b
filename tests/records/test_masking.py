"""Card numbers in what was said, typed and passed on; and what must stay as it is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice.records.masking import masked, storable


@pytest.mark.threat(11)
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("my card is 4111111111111111.", "my card is ************1111."),
        ("4111 1111 1111 1111", "**** **** **** 1111"),
        ("4111-1111-1111-1111", "****-****-****-1111"),
        ("4111, 1111, 1111, 1111 please", "****, ****, ****, 1111 please"),
        ("[keypad] 4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "[keypad] * * * * * * * * * * * * 1 1 1 1"),
        ("3782 822463 10005", "**** ****** *0005"),
        ("4222222222222", "*********2222"),
        ("6304 0000 0000 0000 000", "**** **** **** ***0 000"),
        # What follows a card number is often its date and code.
        ("4111 1111 1111 1111 12 27 123", "**** **** **** 1111 12 27 123"),
        ("[keypad] 4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 2 2 7", "[keypad] * * * * * * * * * * * * 1 1 1 1 1 2 2 7"),
        ("4111111111111111 5555555555554444", "************1111 ************4444"),
        ('{"card": "4111111111111111"}', '{"card": "************1111"}'),
        ("\u0664111111111111111", "************1111"),
    ],
)
def test_a_card_number_keeps_its_last_four_digits(text: str, kept: str) -> None:
    assert masked(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",
        "411111111111",
        "+4915112345678",
        "+1 555 123 4567",
        "CA41111111111111111111111111111111",
        "0000000000000000",
        "call me on 555 123 4567 or 555 765 4321",
        "4111\n1111\n1111\n1111",
        "",
    ],
)
def test_other_numbers_stay(text: str) -> None:
    assert masked(text) == text


@given(st.text(alphabet="0123456789 -,+ax", max_size=60))
def test_masking_changes_digits_into_asterisks_and_nothing_else(text: str) -> None:
    for before, after in zip(text, masked(text), strict=True):
        assert after == before or (after == "*" and before.isdigit())


def with_check_digit(digits: str) -> str:
    total = sum(sum(divmod(int(d) * (2 - i % 2), 10)) for i, d in enumerate(reversed(digits)))
    return digits + str(-total % 10)


@pytest.mark.threat(11)
@given(st.from_regex(r"[2-6][0-9]{11,17}", fullmatch=True).map(with_check_digit), st.sampled_from(["", " ", "-", ", "]))
def test_every_card_number_is_found_however_it_is_spaced(card: str, gap: str) -> None:
    shown = masked(f"it is {gap.join(card)}.")
    assert card not in "".join(filter(str.isdigit, shown)) and shown.count("*") >= 9


def test_a_value_is_masked_all_through_and_keeps_its_shape() -> None:
    value = {
        "messages": [{"role": "user", "content": "4111 1111 1111 1111"}, None, True, 1.5],
        "number": 4111111111111111,
        "milliseconds": 1795370750197,
        "4111 1111 1111 1111": 3,
    }
    assert storable(value) == {
        "messages": [{"role": "user", "content": "**** **** **** 1111"}, None, True, 1.5],
        "number": "************1111",
        "milliseconds": 1795370750197,
        "4111 1111 1111 1111": 3,
    }


def test_only_what_both_databases_take_is_left() -> None:
    value = storable({"a\0": "b\0c \ud800 d", "nan": float("nan"), "inf": [float("-inf")]})
    assert value == {"a": "bc ? d", "nan": None, "inf": [None]}
    assert json.loads(json.dumps(value).encode()) == value
