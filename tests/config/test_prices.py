"""The price table: the file that comes with the server, which line holds for a model, and every fault at once."""

import re
from pathlib import Path

import pytest

from config.faults import ConfigError
from config.models import TRANSCRIPTION_MODELS
from config.prices import PRICES_FILE, Prices, TelephonePrices, TokenPrices, load_prices, price_of


def load(directory: Path, text: str) -> Prices:
    (directory / "prices.toml").write_text(text)
    return load_prices(directory / "prices.toml")


def faults(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(directory, text)
    return [fault.removeprefix(f"{directory / 'prices.toml'}: ") for fault in caught.value.faults]


def test_the_servers_own_file_has_what_the_vendors_publish() -> None:
    prices = load_prices(PRICES_FILE)
    assert price_of(prices.language_model, "grok-4.20-non-reasoning") == TokenPrices(1.25, 0.20, 2.50)
    assert price_of(prices.language_model, "grok-4.3") == TokenPrices(1.25, 0.20, 2.50)
    assert price_of(prices.language_model, "grok-4.7") == TokenPrices(2.00, 0.50, 6.00)
    assert price_of(prices.transcriber, "gpt-live-transcribe") == 0.017
    assert {name for name in prices.transcriber if name not in TRANSCRIPTION_MODELS} == set()
    assert (prices.synthesizer, prices.telephone) == ({}, TelephonePrices())


def test_every_line_that_is_left_to_the_operator_can_be_filled_in(tmp_path: Path) -> None:
    text, count = re.subn(r"^# (\S+ =) +#", r"\1 0.5 #", PRICES_FILE.read_text(), flags=re.MULTILINE)
    assert count == 8
    prices = load(tmp_path, text.replace('# "*" =', '"*" ='))
    assert prices.telephone == TelephonePrices(0.5, 0.5, 0.5, 0.5, 0.5)
    assert price_of(prices.synthesizer, "eleven_flash_v2_5") == 0.5
    assert all(price_of(prices.transcriber, model) is not None for model in TRANSCRIPTION_MODELS)
    assert price_of(prices.language_model, "grok-9") == TokenPrices(2.00, 0.50, 6.00)


def test_nothing_has_to_have_a_price(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Prices()


def test_zero_is_a_price_and_whole_numbers_are_numbers(tmp_path: Path) -> None:
    prices = load(tmp_path, '[synthesizer]\n"*" = 0\n[telephone]\nsms = 0\namd = 1\n')
    assert (prices.synthesizer, prices.telephone) == ({"*": 0.0}, TelephonePrices(sms=0.0, amd=1.0))


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("grok-4.20", 1),
        ("grok-4.20-fast", 2),
        ("grok-4.20-fast-2", 2),
        ("grok-4.20-slow", 3),
        ("grok-4.21", 4),
        ("xai/grok-4.20", 5),
        ("Grok-4.20", 5),
        ("", 5),
    ],
)
def test_the_line_that_says_most_of_the_name_holds(model: str, price: int) -> None:
    lines = {"*": 5, "grok-*": 4, "grok-4.20*": 3, "grok-4.20-fast*": 2, "grok-4.20": 1}
    assert price_of(lines, model) == price
    assert price_of(dict(reversed(lines.items())), model) == price


def test_a_model_that_no_line_fits_has_no_price() -> None:
    assert price_of({"grok-4.3": 1, "grok-4.20*": 2}, "grok-4.30") is None
    assert price_of({}, "grok-4.3") is None


def test_all_faults_are_told_at_once_with_what_is_allowed(tmp_path: Path) -> None:
    text = """
        [language_model]
        "grok-4.3" = { prompt = 1.25, cached = "free", completon = 2.5 }
        "grok-4.5" = 2
        "grok [4]" = { prompt = 1, cached = 1, completion = 1 }
        [transcriber]
        "gpt-live-transcribe" = -0.017
        [synthesiser]
        "eleven_flash_v2_5" = 0.05
        [telephone]
        inbound = 0.01
        sms = nan
        amd = true
    """
    found = "\n".join(faults(tmp_path, text))
    for fault in (
        "grok-4.3.cached is 'free'; allowed: a number",
        "grok-4.3.completion is missing; allowed: a number of US dollars for a million tokens",
        "grok-4.3.completon is unknown (did you mean language_model.grok-4.3.completion?)",
        "grok-4.5 is 2; allowed: a table",
        "'grok [4]' is no name; allowed: a model's name",
        "transcriber.gpt-live-transcribe is -0.017; allowed: a number from 0",
        "synthesiser is unknown (did you mean synthesizer?)",
        "telephone.inbound is unknown",
        "telephone.sms is nan; allowed: a number",
        "telephone.amd is True; allowed: a number",
    ):
        assert fault in found, found


@pytest.mark.parametrize("text", ["[telephone\n", "sms = \n", "\udcff"])
def test_a_file_that_is_no_toml_is_a_fault(tmp_path: Path, text: str) -> None:
    (tmp_path / "prices.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match="prices.toml cannot be read: .*; allowed: a TOML file"):
        load_prices(tmp_path / "prices.toml")


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_prices(tmp_path / "prices.toml")
