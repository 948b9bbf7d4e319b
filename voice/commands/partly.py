"""The settings as far as they are good: a command that needs two of them does not ask for all."""

from collections.abc import Mapping

import click

from config.faults import ConfigError
from config.settings import Settings

# Whoever has these has asked for something without looking whether it is set.
_IN_THEIR_PLACE = {
    "PUBLIC_URL": "https://not-set.invalid",
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "not-set",
    "OPENAI_API_KEY": "not-set",
    "XAI_API_KEY": "not-set",
    "ELEVENLABS_API_KEY": "not-set",
}


def partly(environ: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    """The settings, faulty ones by their defaults; and what is wrong, by the variable's name."""
    try:
        return Settings.from_env(environ), {}
    except ConfigError as error:
        faults = {fault.partition(" ")[0]: fault for fault in error.faults}
    good = {name: value for name, value in environ.items() if name not in faults}
    return Settings.from_env(good | {name: _IN_THEIR_PLACE[name] for name in faults if name in _IN_THEIR_PLACE}), faults


def needed(environ: Mapping[str, str], *names: str) -> Settings:
    """The settings, of which those are good. Raises click.ClickException."""
    settings, faults = partly(environ)
    wrong = [faults[name] for name in names if name in faults]
    if wrong:
        raise click.ClickException("\n".join(wrong))
    return settings
