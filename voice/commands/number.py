"""`python -m voice number use +1…`: a number at Twilio, pointed at this server."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import click

from config.settings import Settings
from voice.commands.output import tell_json
from voice.commands.partly import needed
from voice.errors import VendorError
from voice.wires.numbers import Account, Number

_NONE = "(none)"


@dataclass(frozen=True)
class Change:
    what: str
    now: str
    then: str


@dataclass(frozen=True)
class Targets:
    """Whom Twilio shall ask, each as method and URL."""

    voice: str
    fallback: str
    status: str


def run(environ: Mapping[str, str], number: str, fallback: str | None, yes: bool, as_json: bool) -> None:
    settings = needed(environ, "PUBLIC_URL", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_API_BASE_URL")
    account = account_of(settings)
    try:
        # The SDK tells of a list that is refused as of one that broke off.
        account.standing()
        found = find(account, number)
        targets = targets_of(found, settings.public_url, fallback)
        changes = changes_of(found, targets)
        if not as_json:
            _show(found, changes)
        sure = yes or (not as_json and bool(changes) and click.confirm("Change it at Twilio?"))
        if changes and sure:
            point(account, found, targets)
    except VendorError as error:
        raise click.ClickException(f"Twilio: {error.detail}") from error
    if as_json:
        told = [asdict(change) for change in changes]
        tell_json({"number": found.number, "sid": found.sid, "changes": told, "changed": bool(changes) and yes})
    elif changes and not sure:
        raise click.ClickException("nothing was changed")
    elif changes:
        click.echo("Changed, and Twilio says so when asked again.")


def account_of(settings: Settings) -> Account:
    return Account(settings.twilio_account_sid, settings.twilio_auth_token, settings.twilio_api_base_url)


def find(account: Account, number: str) -> Number:
    """Raises VendorError; click.ClickException for one that the account does not have, or that cannot be pointed."""
    found = account.number(number)
    if found is None:
        others = ", ".join(each.number for each in account.numbers()) or "none at all"
        raise click.ClickException(f"this Twilio account does not have {number}; it has {others}")
    if found.trunk_sid:
        raise click.ClickException(
            f"{number} belongs to the SIP trunk {found.trunk_sid}, which has its calls whatever the number says: "
            "take it out of the trunk first (Twilio's console, Elastic SIP Trunking, Numbers)"
        )
    return found


def targets_of(number: Number, public_url: str, fallback: str | None) -> Targets:
    """`fallback` is a URL; None: the one that the number has, or this server's."""
    ours = f"POST {public_url}/twilio/resume"
    kept = f"POST {fallback}" if fallback else number.fallback or ours
    return Targets(f"POST {public_url}/twilio/voice", kept, f"POST {public_url}/twilio/status")


def changes_of(number: Number, targets: Targets) -> list[Change]:
    wanted = (
        ("voice URL", number.voice, targets.voice),
        ("fallback URL", number.fallback, targets.fallback),
        ("status callback", number.status, targets.status),
        ("application", number.application_sid, ""),
    )
    return [Change(what, now or _NONE, then or _NONE) for what, now, then in wanted if now != then]


def point(account: Account, number: Number, targets: Targets) -> None:
    """Raises VendorError; click.ClickException when Twilio has taken it and says something else afterwards."""
    account.point(number.sid, targets.voice, targets.fallback, targets.status)
    now = account.number(number.number)
    left = changes_of(now, targets) if now else []
    if now is None or left:
        what = ", ".join(f"{change.what} is {change.now}" for change in left) or "the number is gone"
        raise click.ClickException(f"Twilio took the change, and tells something else when asked again: {what}")


def _show(number: Number, changes: list[Change]) -> None:
    if not changes:
        click.echo(f"{number.number} points at this server already: nothing to change.")
        return
    click.echo(f"{number.number} ({number.sid}):")
    for change in changes:
        click.echo(f"  {change.what:<15}  {change.now}")
        click.echo(f"  {'':<15}  -> {change.then}")
