"""`python -m voice doctor`: everything that a first call needs, looked at from outside, one line each."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click

from config.agents import Agent, load_agents
from config.faults import ConfigError
from config.settings import AGENTS_DIR
from voice.commands.checks.database import database
from voice.commands.checks.finding import Check, Finding, Fix, Patient, failed, ok, warning
from voice.commands.checks.machine import folders, gunicorn, open_files
from voice.commands.checks.outside import outside
from voice.commands.checks.telephone import numbers, telephone
from voice.commands.checks.vendors import language_model, synthesizer, transcriber
from voice.commands.output import plain, tell_json
from voice.commands.partly import partly
from voice.errors import VoiceError

_MARKS = {"ok": "ok     ", "warning": "WARNING", "failed": "FAILED "}
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}
_TWILIO = ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_API_BASE_URL")


def _name(check: Check) -> str:
    return check.__name__.replace("_", "-")


@dataclass(frozen=True)
class _Step:
    check: Check
    needs: tuple[str, ...] = ()
    """Variables without which it says nothing."""
    needs_all: bool = False

    @property
    def name(self) -> str:
        return _name(self.check)


_STEPS = (
    _Step(gunicorn, needs_all=True),
    _Step(open_files, ("MAX_CALLS",)),
    _Step(folders, ("CALL_LOG_DIR", "RECORDINGS_DIR", "CLIPS_DIR", "DATABASE_URL")),
    _Step(database, ("DATABASE_URL",)),
    _Step(transcriber, ("OPENAI_API_KEY", "OPENAI_REALTIME_URL", "OPENAI_TRANSCRIPTION_MODEL", "OPENAI_AUDIO_FORMAT")),
    _Step(language_model, ("XAI_API_KEY", "XAI_BASE_URL", "XAI_MODEL", "XAI_FALLBACK_MODEL")),
    _Step(synthesizer, ("ELEVENLABS_API_KEY", "ELEVENLABS_BASE_URL", "ELEVENLABS_MODEL")),
    _Step(telephone, _TWILIO),
    _Step(outside, ("PUBLIC_URL", "TWILIO_AUTH_TOKEN", "DATABASE_URL", "PORT")),
    _Step(numbers, ("PUBLIC_URL", *_TWILIO, "TWILIO_PHONE_NUMBER")),
)
NAMES = tuple(step.name for step in _STEPS)


def run(environ: Mapping[str, str], only: Collection[str], via: str | None, fix: bool, yes: bool, as_json: bool) -> int:
    """1 if anything has failed. `only` some of the checks, by name; empty: all."""
    if unknown := [name for name in only if name not in NAMES]:
        raise click.UsageError(f"there is no check {unknown[0]!r}; there are {', '.join(NAMES)}")
    settings, faults = partly(environ)
    agents, of_agents = _agents(environ)
    patient = Patient(environ, settings, agents, via)
    asks = not as_json and not yes
    findings = []
    steps = [step for step in _STEPS if step.name in only or not only]
    for finding in _all(patient, steps, faults, of_agents, _Fixer(asks, yes) if fix else None):
        findings.append(finding)
        if not as_json:
            _tell(finding)
    worst = {finding.state for finding in findings}
    if as_json:
        checks = [{"what": f.what, "state": f.state, "why": f.why, "todo": f.todo} for f in findings]
        tell_json({"ok": "failed" not in worst, "checks": checks})
    else:
        _sum_up(findings)
    return 1 if "failed" in worst else 0


def _agents(environ: Mapping[str, str]) -> tuple[dict[str, Agent], list[str]]:
    """And their faults."""
    try:
        return load_agents(Path(environ.get("AGENTS_DIR", "").strip() or AGENTS_DIR), environ), []
    except ConfigError as error:
        return {}, list(error.faults)


def _all(
    patient: Patient,
    wanted: Sequence[_Step],
    faults: Mapping[str, str],
    of_agents: Iterable[str],
    fixer: "_Fixer | None",
) -> Iterator[Finding]:
    yield from _settings(patient, faults, of_agents)
    steps = [step for step in wanted if _can(step, faults, of_agents)]
    left_out = [step.name for step in wanted if step not in steps]
    if left_out:
        yield warning("not looked at", ", ".join(left_out), "first mend the settings and agents above")
    with ThreadPoolExecutor(len(_STEPS)) as pool:
        asked = [(step, pool.submit(_made, step.check, patient)) for step in steps]
        for step, found in asked:
            findings = found.result()
            if fixer and fixer.mend(findings):
                findings = _made(step.check, patient)
            yield from findings


def _can(step: _Step, faults: Mapping[str, str], of_agents: Iterable[str]) -> bool:
    if step.needs_all:
        return not faults and not of_agents
    return not any(name in faults for name in step.needs)


def _made(check: Check, patient: Patient) -> list[Finding]:
    try:
        return check(patient)
    except Exception as error:
        # The others still have something to say.
        return [failed(_name(check), f"cannot be looked at: {type(error).__name__}: {error}", "")]


def _settings(patient: Patient, faults: Mapping[str, str], of_agents: Iterable[str]) -> Iterator[Finding]:
    for name, fault in faults.items():
        wrong, _, allowed = fault.removeprefix(name).partition("; allowed: ")
        yield failed(f"setting {name}", wrong.strip(), f"set it to {allowed}")
    for fault in of_agents:
        wrong, _, allowed = fault.partition("; allowed: ")
        yield failed("agent", wrong, f"allowed: {allowed}" if allowed else "")
    if not faults:
        yield ok("settings", "all there, and of the right form")
    if not of_agents:
        yield ok("agents", ", ".join(patient.agents))
    if not patient.settings.api_token and "API_TOKEN" not in faults:
        yield warning("setting API_TOKEN", "is not set: console and API are off", "openssl rand -hex 24")


@dataclass(frozen=True)
class _Fixer:
    may_ask: bool
    yes: bool

    def mend(self, findings: Iterable[Finding]) -> bool:
        """Whether anything was done."""
        done = [self._do(finding, finding.fix) for finding in findings if finding.fix]
        return any(done)

    def _do(self, finding: Finding, fix: Fix) -> bool:
        if fix.asks and not self.yes:
            if not self.may_ask or not click.confirm(f"{finding.what}: {plain(finding.why)}\n{fix.what}?", err=True):
                return False
        try:
            fix.do()
        except (VoiceError, OSError, click.ClickException) as error:
            words = error.message if isinstance(error, click.ClickException) else str(error)
            click.echo(f"not mended: {fix.what}: {words}", err=True)
            return False
        click.echo(f"mended: {fix.what}", err=True)
        return True


def _tell(finding: Finding) -> None:
    mark = click.style(_MARKS[finding.state], fg=_COLOURS[finding.state])
    click.echo(f"{mark}  {plain(finding.what)}: {plain(finding.why)}")
    if finding.todo:
        click.echo(f"{'':9}-> {plain(finding.todo)}")


def _sum_up(findings: list[Finding]) -> None:
    count = {state: sum(finding.state == state for finding in findings) for state in _MARKS}
    plural = "" if count["warning"] == 1 else "s"
    click.echo(f"\n{count['ok']} ok, {count['warning']} warning{plural}, {count['failed']} failed")
