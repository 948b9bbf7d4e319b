"""This machine: how gunicorn would run here, open files, and the folders with their disks."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from voice import limits
from voice.commands.checks.finding import Finding, Fix, Patient, failed, ok, warning
from voice.commands.kept import file_of

_ROOT = Path(__file__).parents[3]
_PRINT_S = 60
_LINE = re.compile(r"^(\w+)\s+= (.*)$", re.MULTILINE)
_LEAST_MB, _LITTLE_MB = 100, 1000
_SLOWEST_S = 30
"""Of gunicorn's heartbeat: a worker that is busy for a moment is not dead."""
_LEAVE_S = 5
_TAKE_OUT = "take it out of the command line, GUNICORN_CMD_ARGS or gunicorn.conf.py"
_BREAKS = {
    "max_requests": "0",
    "preload_app": "False",
    "reuse_port": "False",
}
"""Each other value was seen to break live calls."""


def gunicorn(patient: Patient) -> list[Finding]:
    """As `gunicorn server:app` would be started here, with this environment."""
    command = [sys.executable, "-W", "ignore", "-m", "gunicorn", "--print-config", "server:app"]
    told = subprocess.run(
        command, cwd=_ROOT, env=dict(patient.environ), capture_output=True, text=True, timeout=_PRINT_S, check=False
    )
    found = dict(_LINE.findall(told.stdout))
    if "worker_class" not in found:
        said = (told.stderr.strip() or told.stdout.strip()).splitlines()
        return [failed("gunicorn", f"does not start here: {said[-1] if said else 'no word'}", "start it and read why")]
    return [_worker_class(found), *_times(patient, found), *_broken(found)]


def _worker_class(found: dict[str, str]) -> Finding:
    kind = found["worker_class"]
    if kind != "gevent":
        return failed("worker class", f"is {kind}: a worker would hold one call", _TAKE_OUT)
    return ok(
        "worker class", f"gevent, {found.get('workers', '?')} workers of {found.get('worker_connections')} sockets"
    )


def _times(patient: Patient, found: dict[str, str]) -> list[Finding]:
    timeout, graceful = int(found["timeout"]), int(found["graceful_timeout"])
    findings = []
    if 0 < timeout < _SLOWEST_S:
        findings.append(warning("time-outs", f"timeout is {timeout} s: a busy worker is killed", _TAKE_OUT))
    if graceful < patient.settings.drain_timeout_s + _LEAVE_S:
        drain = patient.settings.drain_timeout_s
        why = f"graceful_timeout is {graceful} s: calls are cut that have DRAIN_TIMEOUT_S, {drain} s, to leave"
        findings.append(failed("time-outs", why, _TAKE_OUT))
    return findings or [ok("time-outs", f"heartbeat {timeout} s, leaving {graceful} s")]


def _broken(found: dict[str, str]) -> list[Finding]:
    wrong = {name: found[name] for name, good in _BREAKS.items() if found.get(name, good) != good}
    return [failed("gunicorn", f"{name} is {value}: live calls break", _TAKE_OUT) for name, value in wrong.items()]


def open_files(patient: Patient) -> list[Finding]:
    descriptors = limits.raise_descriptors()
    most, wanted = limits.calls_within(descriptors), patient.settings.max_calls
    if most < wanted:
        why = f"{descriptors} are enough for {most} calls a worker, MAX_CALLS is {wanted}: more are refused"
        return [warning("open files", why, "raise the hard limit (LimitNOFILE, ulimit -Hn), or lower MAX_CALLS")]
    return [ok("open files", f"{descriptors} for each process, enough for MAX_CALLS {wanted}")]


def folders(patient: Patient) -> list[Finding]:
    settings = patient.settings
    wanted = {
        "CALL_LOG_DIR": settings.call_log_dir,
        "RECORDINGS_DIR": settings.recordings_dir,
        "CLIPS_DIR": settings.clips_dir,
    }
    database = file_of(settings.database_url)
    if database is not None:
        wanted["DATABASE_URL"] = database.parent
    return [_folder(name, path) for name, path in wanted.items()]


def _folder(name: str, path: Path) -> Finding:
    there = path.absolute()
    while not there.exists():
        there = there.parent
    what, elsewhere = f"folder {name}", f"name another with {name}, or mend it"
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        return failed(what, f"{path} cannot be written to: {error.strerror or error}", elsewhere)
    free_mb = shutil.disk_usage(there).free // 2**20
    if free_mb < _LEAST_MB:
        return failed(what, f"{path}: {free_mb} MB are left on its disk", "make room: RETENTION_DAYS deletes old calls")
    if free_mb < _LITTLE_MB:
        return warning(
            what, f"{path}: {free_mb} MB are left on its disk", "make room: RETENTION_DAYS deletes old calls"
        )
    if there != path.absolute():
        make = Fix(f"make {path}", partial(os.makedirs, path, 0o700, exist_ok=True))
        return warning(what, f"{path} is not there", "the server makes it when it first needs it; or --fix", make)
    return ok(what, f"{path}, {free_mb / 1000:.0f} GB left")
