"""What the vendors charge, in US dollars: config/prices.toml, read once at the start."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from config.faults import ConfigError
from config.table import Table

PRICES_FILE = Path(__file__).with_name("prices.toml")

Price = TypeVar("Price")
_DEAREST = 100_000.0
"""A number above it is no price but a slip."""
_MODEL = re.compile(r"[A-Za-z0-9._:/*-]{1,100}", re.ASCII)
_MODEL_ALLOWED = "a model's name, with * for any characters, in quotation marks"


@dataclass(frozen=True)
class TokenPrices:
    """For a million tokens."""

    prompt: float
    cached: float
    """Those of the prompt that the vendor had in its cache."""
    completion: float


@dataclass(frozen=True)
class TelephonePrices:
    """None where the operator has told none."""

    inbound_minute: float | None = None
    outbound_minute: float | None = None
    stream_minute: float | None = None
    """The audio's way to us and back, beside the call's own minute."""
    sms: float | None = None
    amd: float | None = None
    """To find out whether a human or a machine answered, for each call."""


@dataclass(frozen=True)
class Prices:
    """By model, whose name may hold `*`; `price_of` finds the line."""

    language_model: Mapping[str, TokenPrices] = field(default_factory=dict)
    transcriber: Mapping[str, float] = field(default_factory=dict)
    """For a minute of audio."""
    synthesizer: Mapping[str, float] = field(default_factory=dict)
    """For 1000 characters."""
    telephone: TelephonePrices = TelephonePrices()


def price_of(lines: Mapping[str, Price], model: str) -> Price | None:
    """The price of `model`: of the lines that fit, the one that says most of its name. None if none fits."""
    fitting = [name for name in lines if fnmatchcase(model, name)]
    closest = max(fitting, key=lambda name: (len(name) - name.count("*"), "*" not in name), default=None)
    return None if closest is None else lines[closest]


def load_prices(path: Path) -> Prices:
    """Raises ConfigError with all faults of the file; one that is missing is a fault too."""
    faults: list[str] = []
    try:
        file = Table(tomllib.loads(path.read_bytes().decode("utf-8-sig")), str(path), faults)
    except (OSError, ValueError) as error:
        raise ConfigError([f"{path} cannot be read: {error}; allowed: a TOML file in UTF-8"]) from error
    prices = _prices(file)
    if faults:
        raise ConfigError(faults)
    return prices


def _prices(file: Table) -> Prices:
    model, transcriber, synthesizer = file.table("language_model"), file.table("transcriber"), file.table("synthesizer")
    telephone = file.table("telephone")
    prices = Prices(
        language_model={name: _tokens(model.table(name)) for name in model.names(_MODEL, _MODEL_ALLOWED)},
        transcriber=_by_model(transcriber),
        synthesizer=_by_model(synthesizer),
        telephone=TelephonePrices(
            **{price.name: telephone.optional_number(price.name, 0, _DEAREST) for price in fields(TelephonePrices)}
        ),
    )
    file.refuse_unknown()
    return prices


def _by_model(table: Table) -> dict[str, float]:
    return {name: table.number(name, 0, 0, _DEAREST) for name in table.names(_MODEL, _MODEL_ALLOWED)}


def _tokens(line: Table) -> TokenPrices:
    prices = {price.name: line.optional_number(price.name, 0, _DEAREST) for price in fields(TokenPrices)}
    for name, price in prices.items():
        if price is None:
            line.refuse(name, "is missing", "a number of US dollars for a million tokens")
    return TokenPrices(**{name: price or 0.0 for name, price in prices.items()})
