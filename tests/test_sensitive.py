"""What is typed in secret: who gets to see which key, and when a web service may have them."""

from voice.sensitive import HIDDEN, SensitiveDigits


def test_keys_are_hidden_only_while_they_are_asked_for_in_secret() -> None:
    digits = SensitiveDigits()
    assert digits.press("1") == "1"
    digits.collect("pin", True)
    assert [digits.press(key) for key in "12#"] == [HIDDEN, HIDDEN, "#"]
    digits.collect("", False)
    assert digits.press("3") == "3"
    assert digits.by_name == {"pin": "12"}
    digits.collect("extension", False)
    assert digits.press("4") == "4"


def test_nobody_gets_half_of_them() -> None:
    digits = SensitiveDigits()
    digits.collect("pin", True)
    digits.press("1")
    assert digits.by_name == {}
    digits.collect("pin", True)
    digits.press("2")
    digits.collect("", False)
    assert digits.by_name == {"pin": "2"}
