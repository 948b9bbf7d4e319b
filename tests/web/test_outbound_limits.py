"""Who may be called, and how often."""

import pytest

from voice.web.outbound_limits import OutboundLimits


@pytest.mark.threat(5)
@pytest.mark.parametrize(
    ("prefixes", "number", "allowed"),
    [
        ((), "+15551234567", True),
        ((), "+19005551234", False),
        ((), "+8821234567", False),
        ((), "+449098765432", False),
        (("+1",), "+15551234567", True),
        (("+1",), "+19005551234", False),
        (("+1",), "+4915112345678", False),
        (("+1900",), "+19005551234", True),
        (("+44", "+49"), "+4915112345678", True),
    ],
)
def test_only_allowed_numbers_are_called(prefixes: tuple[str, ...], number: str, allowed: bool) -> None:
    assert OutboundLimits(prefixes, 1, 1).allow(number) is allowed
