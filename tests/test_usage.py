"""What a call used and what it cost: every figure here is reckoned by hand."""

import json

import pytest

from config.prices import PRICES_FILE, Prices, TelephonePrices, TokenPrices, load_prices
from voice.usage import Cost, Meter, cost

PRICES = Prices(
    language_model={"grok-4.3": TokenPrices(1.25, 0.20, 2.50), "*": TokenPrices(2.0, 0.5, 6.0)},
    transcriber={"gpt-live-transcribe": 0.017},
    synthesizer={"eleven_*": 0.05},
    telephone=TelephonePrices(0.0085, 0.014, 0.0044, 0.0083, 0.0075),
)


def whole_call() -> Meter:
    meter = Meter(outbound=True)
    meter.add_call(100)
    meter.add_caller_audio("gpt-live-transcribe", 60)
    meter.add_caller_audio("gpt-live-transcribe", 30)
    meter.add_tokens("grok-4.3", 1000, 800, 50)
    meter.add_tokens("grok-4.3", 1200, 1000, 30)
    meter.add_tokens("grok-9", 100, 0, 10)
    meter.add_characters("eleven_flash_v2_5", 400)
    meter.add_characters("eleven_flash_v2_5", 100)
    meter.add_waste(tokens=80, characters=100)
    meter.add_sms()
    meter.add_sms()
    meter.add_amd()
    return meter


def test_a_whole_call() -> None:
    assert cost(whole_call(), PRICES) == Cost(
        {
            "telephone": 0.0609,  # 2 begun minutes * (0.014 + 0.0044) + 2 * 0.0083 + 0.0075 = 0.0368 + 0.0166 + 0.0075
            "transcriber": 0.0255,  # 1.5 * 0.017
            # grok-4.3: (200 + 200) * 1.25 + 1800 * 0.20 + 80 * 2.50 = 500 + 360 + 200 = 1060 millionths;
            # any other: 100 * 2.0 + 10 * 6.0 = 260 millionths
            "language model": 0.00132,
            "synthesizer": 0.025,  # 500 / 1000 * 0.05
            "total": 0.11272,
        },
        (),
    )


def test_what_was_used_is_plain_and_counts_on_from_there() -> None:
    meter = whole_call()
    plain = json.loads(json.dumps(meter.as_dict()))
    assert plain == {
        "outbound": True,
        "call_seconds": 100,
        "caller_audio_s": {"gpt-live-transcribe": 90},
        "tokens": {
            "grok-4.3": {"prompt": 2200, "cached": 1800, "completion": 80},
            "grok-9": {"prompt": 100, "cached": 0, "completion": 10},
        },
        "characters": {"eleven_flash_v2_5": 500},
        "tokens_wasted": 80,
        "characters_wasted": 100,
        "sms": 2,
        "amd": 1,
    }
    resumed = Meter(**plain)
    resumed.add_tokens("grok-4.3", 10, 0, 1)
    assert resumed.tokens["grok-4.3"] == {"prompt": 2210, "cached": 1800, "completion": 81}
    assert meter.tokens["grok-4.3"]["prompt"] == 2200
    assert Meter().tokens == {}, "no two meters share their counts"


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(0, 0), (0.02, 1), (59.9, 1), (60, 1), (60.1, 2), (119, 2), (120, 2), (3600, 60)]
)
def test_a_minute_that_has_begun_is_a_minute(seconds: float, minutes: int) -> None:
    meter = Meter()
    meter.add_call(seconds)
    assert cost(meter, PRICES).usd["telephone"] == round(minutes * 0.0129, 6)


def test_who_called_decides_the_price_of_a_minute() -> None:
    prices = Prices(telephone=TelephonePrices(inbound_minute=1, outbound_minute=2, stream_minute=0))
    dollars = [cost(Meter(outbound=outbound, call_seconds=61), prices).usd["telephone"] for outbound in (False, True)]
    assert dollars == [2, 4]


def test_a_call_in_which_nothing_happened_costs_nothing_whatever_has_no_price() -> None:
    nothing: dict[str, float] = {"telephone": 0, "transcriber": 0, "language model": 0, "synthesizer": 0, "total": 0}
    meter = Meter()
    meter.add_caller_audio("x", 0)
    meter.add_tokens("x", 0, 0, 0)
    meter.add_characters("x", 0)
    assert cost(meter, Prices()) == Cost(nothing, ()) == cost(Meter(), PRICES)


def test_what_has_no_price_is_named_and_costs_nothing() -> None:
    assert cost(whole_call(), Prices()) == Cost(
        {"telephone": 0, "transcriber": 0, "language model": 0, "synthesizer": 0, "total": 0},
        (
            "telephone outbound_minute",
            "telephone stream_minute",
            "telephone sms",
            "telephone amd",
            "transcriber gpt-live-transcribe",
            "language model grok-4.3",
            "language model grok-9",
            "synthesizer eleven_flash_v2_5",
        ),
    )


def test_a_price_of_zero_is_a_price() -> None:
    free = Prices({"*": TokenPrices(0, 0, 0)}, {"*": 0}, {"*": 0}, TelephonePrices(*[0.0] * 5))
    assert cost(whole_call(), free).unpriced == () and cost(whole_call(), free).usd["total"] == 0


def test_more_cached_than_asked_is_no_credit() -> None:
    meter = Meter()
    meter.add_tokens("grok-4.3", 10, 1000, 0)
    assert cost(meter, PRICES).usd["language model"] == 0.0002  # 1000 * 0.20 millionths


def test_dollars_are_rounded_to_a_millionth_and_the_parts_add_up() -> None:
    meter = Meter(call_seconds=1)
    meter.add_caller_audio("gpt-live-transcribe", 1)  # 0.017 / 60 = 0.000283333...
    meter.add_characters("eleven_flash_v2_5", 7)  # 0.00035
    usd = cost(meter, PRICES).usd
    assert usd["transcriber"] == 0.000283
    assert usd["total"] == 0.013533 == round(0.0129 + 0.000283 + 0.00035, 6)


def test_a_call_with_the_prices_of_the_servers_own_file() -> None:
    meter = Meter(call_seconds=30)
    meter.add_caller_audio("gpt-live-transcribe", 30)
    meter.add_tokens("grok-4.20-non-reasoning", 2_000, 1_000, 100)
    meter.add_characters("eleven_flash_v2_5", 100)
    reckoned = cost(meter, load_prices(PRICES_FILE))
    assert reckoned.usd["transcriber"] == 0.0085
    assert reckoned.usd["language model"] == 0.0017  # 1000 * 1.25 + 1000 * 0.20 + 100 * 2.50 = 1700 millionths
    assert reckoned.unpriced == (
        "telephone inbound_minute",
        "telephone stream_minute",
        "synthesizer eleven_flash_v2_5",
    )
