"""Twilio: the account, its clock, and the numbers that shall lead here."""

from functools import partial

from voice.commands.checks.finding import Finding, Fix, Patient, failed, ok, warning
from voice.commands.number import account_of, changes_of, point, targets_of
from voice.errors import VendorError, VendorRefused
from voice.wires.numbers import Account, Number, Standing

_APART_S, _FAR_APART_S = 3.0, 30.0
"""A Date has whole seconds. A stream's token is good for 60 s."""


def telephone(patient: Patient) -> list[Finding]:
    account = account_of(patient.settings)
    try:
        standing = account.standing()
    except VendorError as error:
        refused = isinstance(error, VendorRefused)
        todo = "look at TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN" if refused else "look at Twilio's status page"
        return [failed("Twilio account", error.detail, todo)]
    return [_account(standing), _clock(standing)]


def _account(standing: Standing) -> Finding:
    what = "Twilio account"
    if standing.status != "active":
        return failed(what, f"is {standing.status}", "Twilio's console says why")
    if standing.type.lower() == "trial":
        return failed(what, "is a trial account, which refuses <Stream>", "upgrade it in Twilio's console")
    return ok(what, f"{standing.status}, {standing.type or 'of no type'}")


def _clock(standing: Standing) -> Finding:
    what, ahead = "clock", standing.clock_ahead_s
    if ahead is None:
        return warning(what, "Twilio does not tell the time", "look at it yourself: timedatectl")
    apart = f"Twilio's is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}"
    todo = "have it set by NTP: timedatectl set-ntp true"
    if abs(ahead) > _FAR_APART_S:
        return failed(what, apart, todo)
    if abs(ahead) > _APART_S:
        return warning(what, apart, todo)
    return ok(what, f"within {_APART_S:.0f} s of Twilio's")


def numbers(patient: Patient) -> list[Finding]:
    """The agents' and that of outbound calls; without any, whether any of the account leads here."""
    account = account_of(patient.settings)
    agents = (number for agent in patient.agents.values() for number in agent.numbers)
    wanted = sorted({*agents, *filter(None, [patient.settings.twilio_phone_number])})
    try:
        # The SDK tells of a list that is refused as of one that broke off.
        account.standing()
        if wanted:
            return [finding for number in wanted for finding in _number(patient, account, number)]
        return _any(patient, account)
    except VendorError as error:
        return [failed("numbers", f"cannot be looked at: {error.detail}", "see the Twilio account")]


def _any(patient: Patient, account: Account) -> list[Finding]:
    found = account.numbers()
    here = [number for number in found if number.voice.endswith(patient.settings.public_url + "/twilio/voice")]
    if not here:
        there = ", ".join(number.number for number in found) or "no number at all"
        why = f"none of the account leads here; it has {there}"
        return [failed("numbers", why, ".venv/bin/python -m voice number use +1…")]
    return [finding for number in here for finding in _found(patient, account, number)]


def _number(patient: Patient, account: Account, number: str) -> list[Finding]:
    found = account.number(number)
    if found is None:
        why = "this Twilio account does not have it"
        return [failed(f"number {number}", why, "look at the agents' numbers and TWILIO_PHONE_NUMBER")]
    return _found(patient, account, found)


def _found(patient: Patient, account: Account, number: Number) -> list[Finding]:
    what = f"number {number.number}"
    if number.trunk_sid:
        return [failed(what, f"belongs to the SIP trunk {number.trunk_sid}", "take it out of the trunk")]
    if not number.takes_calls:
        return [failed(what, "cannot take calls", "it needs Twilio's capability voice: take another one")]
    public_url = patient.settings.public_url
    targets = targets_of(number, public_url, None)
    changes = changes_of(number, targets)
    elsewhere = [change for change in changes if change.what in ("voice URL", "application")]
    todo = f".venv/bin/python -m voice number use {number.number}"
    if changes:
        why = "; ".join(f"its {change.what} is {change.now}, not {change.then}" for change in changes)
        fix = Fix(f"point {number.number} at this server", partial(point, account, number, targets), asks=True)
        kind = failed if elsewhere else warning
        return [kind(what, why, f"{todo}, or --fix", fix)]
    if public_url in number.fallback:
        why = "leads here; its fallback is this server, too: when that is down callers hear Twilio's error"
        return [warning(what, why, f"{todo} --fallback <a TwiML Bin, docs/deploy.md>")]
    return [ok(what, "leads here, with its status; its fallback is elsewhere")]
