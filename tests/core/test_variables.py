"""Variables in the texts of an agent."""

from voice.core.variables import fill


def test_variables_are_filled_in_and_nothing_else_is_touched() -> None:
    values = {"caller": "+1555", "now": "Monday"}
    assert fill("It is {now}, {caller}. {now}!", values) == "It is Monday, +1555. Monday!"
    assert fill('{"json": 1} {unknown} {} {0} {caller.__class__}', values) == (
        '{"json": 1} {unknown} {} {0} {caller.__class__}'
    )


def test_a_value_is_not_read_again() -> None:
    assert fill("{caller}", {"caller": "{now}", "now": "Monday"}) == "{now}"
