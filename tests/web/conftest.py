"""One real server for all tests of the doors, and its log, which must stay free of errors."""

import re
from collections.abc import Iterator

import pytest

from tests.running import Running
from tests.web.served import MAX_CALLS, Served


@pytest.fixture(scope="package")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("doors")
    with Running(folder, MAX_CALLS=str(MAX_CALLS), AGENTS_DIR="", DEFAULT_AGENT="receptionist") as running:
        yield Served(running)


@pytest.fixture
def served(doors: Served) -> Iterator[Served]:
    """The server; what it logs during the test may be anything but an error, and no call may be left."""
    doors.forget_log()
    yield doors
    if "stream accepted" in doors.log():
        doors.running.wait_until_idle()
    log = doors.log()
    assert "Traceback" not in log and not re.search(r"^\S+ (ERROR|CRITICAL) ", log, re.MULTILINE), log
