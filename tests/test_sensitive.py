"""What is typed in secret: who gets to see which key, and when a web service may have them."""

from voice.sensitive import HIDDEN, SensitiveDigits


def test_keys_are_hidden_only_while_they_are_asked_for_in_secret() -> None:
    digits = SensitiveDigits()
    assert digits.press("1") == "1"
    digits.collect("pin", True, 0)
    assert [digits.press(key) for key in "12#"] == [HIDDEN, HIDDEN, "#"]
    digits.collect("", False, 0)
    assert digits.press("3") == "3"
    assert digits.by_name == {"pin": "12"}
    digits.collect("extension", False, 0)
    assert digits.press("4") == "4"


def test_nobody_gets_half_of_them() -> None:
    digits = SensitiveDigits()
    digits.collect("pin", True, 0)
    digits.press("1")
    assert digits.by_name == {}
    digits.collect("pin", True, 0)
    digits.press("2")
    digits.collect("", False, 0)
    assert digits.by_name == {"pin": "2"}


def test_what_is_pressed_too_much_is_hidden_and_dropped() -> None:
    digits = SensitiveDigits()
    digits.collect("pin", True, 2)
    assert [digits.press(key) for key in "1234"] == [HIDDEN] * 4
    digits.collect("", False, 0)
    assert digits.by_name == {"pin": "12"}
