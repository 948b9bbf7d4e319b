import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.records.postgresql import NotHere, Server
from voice.records.records import Records


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """One server for all tests; each has a database of its own."""
    try:
        server = Server()
    except NotHere as reason:
        # A skip alone is a letter in a row of dots.
        warnings.warn(f"nothing was tested against PostgreSQL: {reason}", stacklevel=1)
        pytest.skip(str(reason))
    try:
        server.start()
        yield server
        server.stop()
    finally:
        server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/voice.db"
    server: Server = request.getfixturevalue("postgresql")
    return server.new_database()


class Clock:
    """Seconds since the epoch, as the test sets them."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records(url: str, clock: Clock) -> Iterator[Records]:
    records = Records(url, clock=clock, timeout_s=10)
    records.start()
    yield records
    records.stop(5)
