"""The real server under gunicorn with the stand-ins beside it, and phones to call it: for tests of whole calls."""

import base64
import os
import re
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gevent

from voice.core import call_log
from voice.sandbox.delays import Delays
from voice.sandbox.demo_script import Answer, ToolCall
from voice.sandbox.phone import Phone
from voice.sandbox.serving import ServerProcess
from voice.sandbox.stand_ins import Sandbox

AGENTS = Path(__file__).parent / "agents"
_DESCRIPTION = re.compile(r"^(\d+) connections, (\d+) calls, (\d+) streams, (\d+) greenlets$", re.MULTILINE)


def echo(messages: list[dict[str, Any]]) -> Answer:
    """Repeats the caller's words; says goodbye and hangs up on the word goodbye."""
    words = str(messages[-1]["content"])
    if "goodbye" in words.lower():
        return Answer("Goodbye then.", (ToolCall("hang_up", {}),))
    return Answer(f"You said: {words}")


class Running:
    """Use as a context manager. `environment` overrides what the server is told; `prefix` as in ServerProcess."""

    def __init__(self, folder: Path, workers: int = 1, prefix: tuple[str, ...] = (), **environment: str) -> None:
        self.folder = folder
        self.sandbox = Sandbox()
        self.log_path = folder / "server.log"
        self.calls_dir = folder / "calls"
        self._workers = workers
        self._prefix = prefix
        self._environment = {
            "AGENTS_DIR": str(AGENTS),
            "DEFAULT_AGENT": "plain",
            "CALL_LOG_DIR": str(self.calls_dir),
            "CLIPS_DIR": str(folder / "clips"),
            "RECORDINGS_DIR": str(folder / "recordings"),
            "DATABASE_URL": f"sqlite:///{folder / 'voice.db'}",
            **environment,
        }

    def __enter__(self) -> "Running":
        self.sandbox.start()
        self._log = self.log_path.open("wb")
        self.environment = self.sandbox.environment() | self._environment
        self.server = ServerProcess(self.environment, self._log, workers=self._workers, prefix=self._prefix)
        try:
            self.server.start()
        except RuntimeError as error:
            raise RuntimeError(self.log_path.read_text()) from error
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        self.sandbox.stop()
        self._log.close()
        assert secrets_in(self.environment, self.log_path) == [], "a secret stands in the server's log"

    def forget(self) -> None:
        for stand_in in (self.sandbox.openai, self.sandbox.xai, self.sandbox.elevenlabs):
            stand_in.faults.clear()
            stand_in.delays = Delays()
        self.sandbox.openai.sessions.clear()
        self.sandbox.xai.requests.clear()
        self.sandbox.elevenlabs.sockets.clear()
        self.sandbox.twilio.requests.clear()
        self.sandbox.xai.answer = echo

    def phone(self, **options: Any) -> Phone:
        twilio = self.sandbox.twilio
        return Phone(
            server=self.server.url,
            account_sid=twilio.account_sid,
            auth_token=twilio.auth_token,
            twilio=twilio,
            **options,
        )

    # What the server says of itself

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def lines_of(self, call_sid: str) -> list[str]:
        """The server's log lines of one call."""
        return [line for line in self.log.splitlines() if call_sid in line]

    def last_line(self, call_sid: str) -> str:
        """What it says of the end, a moment after the caller's end of it."""
        is_over = f"{call_sid}: over, "
        wait_until(lambda: is_over in self.log, 5, "the call is over")
        return next(line for line in self.lines_of(call_sid) if is_over in line)

    def replayed(self, call_sid: str) -> call_log.Replayed:
        with (self.calls_dir / f"{call_sid}.jsonl").open() as lines:
            return call_log.replay(lines)

    def worker_pid(self) -> int:
        children = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children").read_text().split()
        return int(children[0])

    def level(self) -> tuple[int, int, int, int]:
        """Connections, calls, streams and greenlets of the worker, by its own account (kill -USR2)."""
        told = len(_DESCRIPTION.findall(self.log))
        os.kill(self.worker_pid(), signal.SIGUSR2)
        wait_until(lambda: len(_DESCRIPTION.findall(self.log)) > told, 5, "the worker describes itself")
        connections, live, streams, greenlets = map(int, _DESCRIPTION.findall(self.log)[-1])
        return connections, live, streams, greenlets

    def open_sockets(self) -> int:
        """Sockets of the worker, by the kernel's account; idle connections kept for the language model are left out."""
        fds = Path(f"/proc/{self.worker_pid()}/fd")
        return sum(1 for fd in fds.iterdir() if _target(fd).startswith("socket:"))

    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.worker_pid()}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024

    def wait_until_idle(self) -> None:
        """Until all three maps of the worker are empty."""
        wait_until(lambda: self.level()[:3] == (0, 0, 0), 15, "no call is left")


def secrets_in(environment: Mapping[str, str], log: Path) -> list[str]:
    """The names of the secrets of the environment that stand in the log, as they are or as a request carries them."""
    known = {name: value for name, value in environment.items() if re.search(r"_(KEY|TOKEN|SECRET)$", name)}
    account = f"{environment['TWILIO_ACCOUNT_SID']}:{environment['TWILIO_AUTH_TOKEN']}"
    known["TWILIO's basic authorization"] = base64.b64encode(account.encode()).decode()
    text = log.read_text(errors="replace")
    return [name for name, value in known.items() if value and value in text]


def wait_until(true: Callable[[], bool], timeout: float, what: str) -> None:
    """For things of another process, which cannot wake us: asks every 20 ms."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s: {what}")
        gevent.sleep(0.02)


def _target(fd: Path) -> str:
    try:
        return os.readlink(fd)
    except OSError:
        return ""
