"""The records of the server, opened for a command: the same database, asked and hardly ever written to."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
from sqlalchemy import make_url

from config.agents import Agent, load_agents
from config.faults import ConfigError
from config.settings import AGENTS_DIR, Settings
from voice.errors import RecordsUnavailable
from voice.records.records import Records

_TIMEOUT_S = 10.0


@contextmanager
def opened(environ: Mapping[str, str]) -> Iterator[Records]:
    """The records at DATABASE_URL. Whatever is wrong with them, also while they are used, is the command's error."""
    try:
        url = Settings.database_of(environ)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    path = file_of(url)
    # It would be made, and a search in the wrong folder would find nothing instead of saying so.
    if path is not None and not path.exists():
        raise click.ClickException(f"there is no {path}: run this in the server's folder, or set its DATABASE_URL")
    records = Records(url, timeout_s=_TIMEOUT_S)
    try:
        yield records
    except RecordsUnavailable as error:
        raise click.ClickException(f"the database does not answer: {error}") from error
    finally:
        records.stop(0.1)


def file_of(url: str) -> Path | None:
    """SQLite's file; None for another database."""
    parts = make_url(url.replace("postgres://", "postgresql://", 1))
    return Path(str(parts.database)) if parts.get_backend_name() == "sqlite" else None


def agents_of(environ: Mapping[str, str]) -> dict[str, Agent]:
    """None of them when their files are not here, or are faulty: a kept call can be told without."""
    try:
        return load_agents(Path(environ.get("AGENTS_DIR", "").strip() or AGENTS_DIR), environ)
    except ConfigError:
        return {}
