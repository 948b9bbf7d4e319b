"""What a caller should hear for what a model writes."""

import pytest

from voice.core.speakable import speakable


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("We open at nine.", "We open at nine."),
        ("**Sure!** We have _two_ `rooms`.", "Sure! We have two rooms."),
        ("- Monday to Friday", "Monday to Friday"),
        ("2. The second step.", "The second step."),
        ("## Opening hours", "Opening hours"),
        ("See [our page](https://example.com/a?b=c).", "See our page."),
        ("Go to https://www.riverside-clinic.com/book today.", "Go to riverside-clinic dot com today."),
        ("Write to desk@clinic.org.", "Write to desk at clinic dot org."),
        ("Great 🎉 see you! 👍🏽", "Great see you!"),
        ("It is 20% off & costs $15.", "It is 20 percent off and costs 15 dollars."),
        ("That is €1,250.50 in all.", "That is 1,250.50 euros in all."),
        ("Your number is 5551234567.", "Your number is 5 5 5, 1 2 3, 4 5 6 7."),
        ("Call +1 555 123 4567 now.", "Call plus 1 5 5, 5 1 2, 3 4 5, 6 7 now."),
        ("In 2026 we had 4200 guests.", "In 2026 we had 4200 guests."),
        ("At 9:30 a.m. sharp.", "At 9:30 a.m. sharp."),
        ("It ends.Then it begins.", "It ends.Then it begins."),
        ("Línea, naïve, 東京です。", "Línea, naïve, 東京です。"),
        ("a\x00b\x1b[31mc\u200d", "ab[31mc"),
        ("🎉", ""),
    ],
)
def test_as_it_is_spoken(written: str, spoken: str) -> None:
    assert speakable(written, {}) == spoken


def test_pronunciations_replace_whole_words_whatever_their_case() -> None:
    said = {"SQL": "sequel", "Dr.": "Doctor", "C++": "see plus plus"}
    assert (
        speakable("sql and MySQL, says Dr. Who of C++.", said) == "sequel and MySQL, says Doctor Who of see plus plus."
    )
