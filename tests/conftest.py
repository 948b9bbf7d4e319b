from gevent import monkey

monkey.patch_all()

from collections.abc import Generator, Iterator  # noqa: E402

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

from tests.reliability import results  # noqa: E402
from tests.running import Running  # noqa: E402

# For `make chaos`: --hypothesis-profile=chaos, up to two hundred times as many examples.
settings.register_profile("chaos", max_examples=20_000, deadline=None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    results.keep(item, report)
    return report


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The real server under gunicorn, one worker, with the stand-ins; shared by the tests of a module."""
    with Running(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def calls(running: Running) -> Iterator[Running]:
    """The same with everything that was observed before forgotten; afterwards nothing of the test may be left."""
    running.forget()
    yield running
    running.wait_until_idle()
