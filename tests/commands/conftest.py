"""Commands as an operator runs them: `run` gives what they say, and their exit code."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from voice.cli import main
from voice.records.records import Records

Run = Callable[..., Result]
SETTINGS = ("DATABASE_URL", "AGENTS_DIR", "CALL_LOG_DIR", "RECORDINGS_DIR", "DEFAULT_AGENT", "API_TOKEN")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """In a folder of its own, with nothing set but what the test says."""
    monkeypatch.chdir(tmp_path)
    interrupted = signal.getsignal(signal.SIGINT)

    def invoke(*arguments: str, answer: str | None = None, **environ: str) -> Result:
        return CliRunner().invoke(main, arguments, input=answer, env=dict.fromkeys(SETTINGS, "") | environ)

    yield invoke
    signal.signal(signal.SIGINT, interrupted)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    """The database of that folder."""
    records = Records(f"sqlite:///{tmp_path / 'voice.db'}", timeout_s=10)
    records.start()
    yield records
    records.stop(5)
