"""A real PostgreSQL server of the tests' own, on a Unix socket in a new folder, when the machine has its programs."""

import os
import pwd
import shutil
import subprocess
import tempfile
from itertools import count
from pathlib import Path

import psycopg

_LIMIT_S = 30
# Durability is the server's own affair; without fsync its start and stop are quick.
_OPTIONS = (
    "-F -c listen_addresses='' -c shared_buffers=32MB -c autovacuum=off -c max_wal_senders=0 -c wal_level=minimal"
)


class NotHere(Exception):
    """Why there can be no server on this machine."""


class Server:
    """Stopped at once by `stop`, as by a crash; `start` brings it back with what was committed."""

    def __init__(self) -> None:
        self._programs = _programs()
        # initdb refuses root.
        self._user = _unprivileged_user() if os.geteuid() == 0 else None
        # Short: the path of a socket has at most 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="pg"))
        if self._user:
            shutil.chown(self._folder, self._user, pwd.getpwnam(self._user).pw_gid)
        self._numbers = count(1)
        self._run("initdb", "-D", self._data, "-A", "trust", "-U", "voice", "-E", "UTF8", "--no-sync", "--locale=C")

    def start(self) -> None:
        log = str(self._folder / "log")
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", log, "-o", f"{_OPTIONS} -k {self._folder}")

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", "immediate")

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def new_database(self) -> str:
        """The address of an empty database."""
        name = f"voice{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy")
        return f"postgresql://voice@/{name}?host={self._folder}"

    def sql(self, statement: str) -> str:
        """Run as another client; the first value of the answer, if there is one."""
        with psycopg.connect(f"host={self._folder} user=voice dbname=postgres", autocommit=True) as connection:
            answer = connection.execute(statement)
            return str(answer.fetchone()[0]) if answer.description else ""  # type: ignore[index]

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if self._user:
            command = ["runuser", "-u", self._user, "--", *command]
        # Into a file: the server inherits it, and would keep a pipe open.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(command, stdout=output, stderr=output, cwd="/", timeout=_LIMIT_S)
            output.seek(0)
            if done.returncode != 0:
                raise RuntimeError(f"{' '.join(command)}: {output.read()}")


def _programs() -> Path:
    """The folder of initdb; Debian keeps it out of PATH."""
    found = shutil.which("initdb")
    places = [Path(found).resolve()] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not places:
        raise NotHere("PostgreSQL is not installed on this machine")
    return places[-1].parent


def _unprivileged_user() -> str:
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        if shutil.which("runuser"):
            return name
    raise NotHere("PostgreSQL refuses to run as root, and there is no runuser or no other user")
