"""What one call used of each vendor, and what that cost. Counting and arithmetic; the call tells it what happened."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from config.prices import Prices, price_of


@dataclass
class Meter:
    """Written by one call's greenlets, read at its end. `Meter(**meter.as_dict())` counts on where one left off."""

    outbound: bool = False
    call_seconds: float = 0.0
    caller_audio_s: dict[str, float] = field(default_factory=dict)
    """Sent to the transcriber, by its model."""
    tokens: dict[str, dict[str, int]] = field(default_factory=dict)
    """By language model: `prompt`, of which `cached`, and `completion`."""
    characters: dict[str, int] = field(default_factory=dict)
    """Given to the synthesizer, by its model."""
    tokens_wasted: int = 0
    """Answers that nobody heard, and what had come of answers that were broken off. Of the latter the language model
    tells no usage: they are not in those above."""
    characters_wasted: int = 0
    sms: int = 0
    amd: int = 0
    """How often it was found out whether a human or a machine had answered."""

    def add_call(self, seconds: float) -> None:
        self.call_seconds += seconds

    def add_caller_audio(self, model: str, seconds: float) -> None:
        self.caller_audio_s[model] = self.caller_audio_s.get(model, 0.0) + seconds

    def add_tokens(self, model: str, prompt: int, cached: int, completion: int) -> None:
        """`prompt` is all of the request, the cached part too; `completion` all that is billed as output."""
        counts = self.tokens.setdefault(model, {"prompt": 0, "cached": 0, "completion": 0})
        for name, count in (("prompt", prompt), ("cached", cached), ("completion", completion)):
            counts[name] += count

    def add_characters(self, model: str, count: int) -> None:
        self.characters[model] = self.characters.get(model, 0) + count

    def add_waste(self, tokens: int = 0, characters: int = 0) -> None:
        """They were, or will be, added to what was used all the same."""
        self.tokens_wasted += tokens
        self.characters_wasted += characters

    def add_sms(self) -> None:
        self.sms += 1

    def add_amd(self) -> None:
        self.amd += 1

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        return asdict(self)


@dataclass(frozen=True)
class Cost:
    usd: dict[str, float]
    """By `telephone`, `transcriber`, `language model`, `synthesizer`, and their `total`; to a millionth of a dollar."""
    unpriced: tuple[str, ...]
    """What was used and counts as 0, because there is no price for it: `synthesizer eleven_flash_v2_5`."""


def cost(meter: Meter, prices: Prices) -> Cost:
    unpriced: list[str] = []
    usd = {
        "telephone": _telephone(meter, prices, unpriced),
        "transcriber": _by_model("transcriber", meter.caller_audio_s, 60, prices.transcriber, unpriced),
        "language model": _tokens(meter, prices, unpriced),
        "synthesizer": _by_model("synthesizer", meter.characters, 1000, prices.synthesizer, unpriced),
    }
    usd = {vendor: round(dollars, 6) for vendor, dollars in usd.items()}
    return Cost(usd | {"total": round(sum(usd.values()), 6)}, tuple(unpriced))


def _telephone(meter: Meter, prices: Prices, unpriced: list[str]) -> float:
    # Twilio rounds up to whole minutes, those of a stream too (support.twilio.com, article 223132307).
    minutes = math.ceil(meter.call_seconds / 60)
    own = prices.telephone
    lines = (
        ("outbound_minute", minutes, own.outbound_minute)
        if meter.outbound
        else ("inbound_minute", minutes, own.inbound_minute),
        ("stream_minute", minutes, own.stream_minute),
        ("sms", meter.sms, own.sms),
        ("amd", meter.amd, own.amd),
    )
    unpriced += [f"telephone {name}" for name, count, price in lines if count and price is None]
    return sum(count * (price or 0.0) for _, count, price in lines)


def _by_model(
    vendor: str, used: Mapping[str, float], unit: int, lines: Mapping[str, float], unpriced: list[str]
) -> float:
    total = 0.0
    for model, amount in used.items():
        price = price_of(lines, model)
        if amount and price is None:
            unpriced.append(f"{vendor} {model}")
        total += amount / unit * (price or 0.0)
    return total


def _tokens(meter: Meter, prices: Prices, unpriced: list[str]) -> float:
    millionths = 0.0
    for model, counts in meter.tokens.items():
        price = price_of(prices.language_model, model)
        if price is None:
            unpriced += [f"language model {model}"] if any(counts.values()) else []
            continue
        new = max(0, counts["prompt"] - counts["cached"])
        millionths += new * price.prompt + counts["cached"] * price.cached + counts["completion"] * price.completion
    return millionths / 1_000_000
