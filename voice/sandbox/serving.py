"""The real server as a process of its own under gunicorn, pointed at the stand-ins: for the demo and all tests."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import requests

ROOT = Path(__file__).parents[2]
_START_S = 60.0
_STOP_S = 35.0


class ServerProcess:
    """gunicorn with `workers` workers on 127.0.0.1; its log goes to `log`."""

    def __init__(
        self,
        environment: Mapping[str, str],
        log: IO[bytes],
        *,
        workers: int = 1,
        port: int = 0,
        prefix: tuple[str, ...] = (),
        command: tuple[str, ...] = (),
        cpu: int | None = None,
    ) -> None:
        """`port` 0 or one that is taken: any that is free. `prefix` is a command to run it under, such as nice.

        `command` is another server's, which takes its port from PORT and answers /healthz. `cpu` is the one core that
        all of it shall run on; Linux only.
        """
        self.port = _free_port(port)
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = os.environ | environment | {"PORT": str(self.port), "WEB_CONCURRENCY": str(workers)}
        self._log = log
        self._command = command or (sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{self.port}", "server:app")
        self._command = (*prefix, *self._command)
        self._cpu = cpu
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers. Raises RuntimeError when it ends or does not answer within 30 s; its log says why."""
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=self._environment, stdout=self._log, stderr=self._log
        )
        if self._cpu is not None:
            # Long before it forks its workers, which inherit it.
            os.sched_setaffinity(self._process.pid, {self._cpu})
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if requests.get(f"{self.url}/healthz", timeout=1).ok:
                    return
            except requests.RequestException:
                time.sleep(0.05)  # nothing tells us that a port has opened
        self.stop()
        raise RuntimeError("the server did not start")

    def stop(self) -> None:
        """SIGINT, which ends gunicorn at once, calls and all; then wait for it."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def restart(self) -> None:
        """SIGTERM, and once all calls have been handed over and the port is free a new one on it. Raises as `start`."""
        os.kill(self.pid, signal.SIGTERM)
        self.wait()
        self.start()

    def wait(self) -> None:
        """Until it has gone. Raises subprocess.TimeoutExpired."""
        if self._process is not None:
            self._process.wait(_STOP_S)

    @property
    def pid(self) -> int:
        """Of gunicorn's master. Raises RuntimeError when it is not running."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def __enter__(self) -> "ServerProcess":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no port of 127.0.0.1 is free")
