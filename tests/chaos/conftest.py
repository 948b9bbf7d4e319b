"""One server for all rows. The healthy calls beside the victim: 4, or as many as the environment's CHAOS_CALLS."""

import os
from collections.abc import Callable, Iterator

import pytest

from tests.chaos.harness import Chaos, Row


@pytest.fixture(scope="session")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chaos]:
    healthy = int(os.environ.get("CHAOS_CALLS", "4"))
    with Chaos(tmp_path_factory.mktemp("chaos"), healthy).serving() as chaos:
        yield chaos


@pytest.fixture
def row(chaos: Chaos, record_property: Callable[[str, object], None]) -> Iterator[Row]:
    with chaos.row(record_property) as row:
        yield row
