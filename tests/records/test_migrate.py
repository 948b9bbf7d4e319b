"""Databases brought up to date: to what the program expects, once, whoever else is at it."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from click.testing import CliRunner
from sqlalchemy import Connection

from voice.cli import main
from voice.errors import RecordsUnavailable
from voice.records import migrate
from voice.records.database import Database
from voice.records.schema import metadata

ROOT = Path(__file__).parents[2]


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


def test_the_migrations_make_the_tables_that_the_program_uses(url: str) -> None:
    database = Database(url)
    assert len(database.read(differences, 10)) > 5
    migrate.migrate(url)
    assert database.read(differences, 10) == []
    current, known = database.read(migrate.revisions, 10)
    assert current == known[0] == migrate._LATEST
    migrate.migrate(url)
    assert database.read(differences, 10) == []
    database.close(5)


# Forked and waited for without gevent's help; they begin when the pipe is shut.
_AT_ONCE = """
import os, sys
from os import close, fork, waitpid
from gevent import monkey, reinit
monkey.patch_all()
from voice.records.migrate import migrate
reading, shut = os.pipe()
workers = []
for _ in range(4):
    if (worker := fork()) == 0:
        close(shut)
        os.read(reading, 1)
        reinit()
        migrate(sys.argv[1])
        os._exit(0)
    workers.append(worker)
close(shut)
sys.exit(sum(waitpid(worker, 0)[1] for worker in workers))
"""


def test_several_workers_at_once_do_it_once(url: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", _AT_ONCE, url]
    workers = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (workers.returncode, workers.stderr) == (0, "")
    database = Database(url)
    assert database.read(differences, 10) == []
    database.close(5)


def test_a_migration_that_fails_leaves_nothing(url: str) -> None:
    database = Database(url)
    # In the way of the second table.
    database.write(lambda connection: connection.exec_driver_sql("CREATE TABLE turns (id INTEGER)"), 10)
    with pytest.raises(RecordsUnavailable, match="turns"):
        migrate.migrate(url, timeout_s=0.1)
    database.write(lambda connection: connection.exec_driver_sql("DROP TABLE turns"), 10)
    migrate.migrate(url, timeout_s=0.1)
    assert database.read(differences, 10) == []
    database.close(5)


def test_a_database_of_a_newer_program_is_left_alone_and_used(url: str, caplog: pytest.LogCaptureFixture) -> None:
    migrate.migrate(url)
    database = Database(url, prepare=migrate.apply)
    newer = "UPDATE alembic_version SET version_num = '9999'"
    other = Database(url)
    other.write(lambda connection: connection.exec_driver_sql(newer), 10)
    assert database.read(differences, 10) == []
    assert "revision 9999 of a newer program" in caplog.text
    database.close(5)
    other.close(5)


# The command


def test_the_command_brings_the_database_up_to_date(url: str) -> None:
    result = CliRunner().invoke(main, ["migrate"], env={"DATABASE_URL": url})
    assert (result.exit_code, result.output) == (0, "The database is up to date.\n")
    database = Database(url)
    assert database.read(differences, 10) == []
    database.close(5)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://root:hunter2@localhost/voice", "DATABASE_URL has the wrong scheme"),
        ("sqlite:////not/there/voice.db", "FileNotFoundError"),
        ("postgresql://root:hunter2@127.0.0.1:1/voice", "OperationalError"),
    ],
)
def test_the_command_says_why_it_cannot(url: str, said: str) -> None:
    result = CliRunner().invoke(main, ["migrate", "--wait", "0"], env={"DATABASE_URL": url})
    assert result.exit_code == 1
    assert said in result.output and "hunter2" not in result.output
