"""The house's floors: imports point down only. The rule is the three tables; the rest looks the imports up in them."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STDLIB = sys.stdlib_module_names | {"audioop"}  # audioop comes from PyPI from Python 3.13 on
OURS = {"config", "voice", "server", "tests"}


@dataclass(frozen=True)
class Room:
    """A module or package with all that is in it; what is in one room may import its neighbours there."""

    name: str
    floor: int
    beside: tuple[str, ...] = ()
    """Rooms of the same floor that it may import too."""


ROOMS = (
    Room("voice.__main__", 6, beside=("voice.cli",)),
    Room("server", 6),
    Room("gunicorn.conf", 6),
    Room("voice.cli", 6, beside=("voice.commands",)),
    Room("voice.commands", 6),
    Room("voice.web", 5),
    Room(
        "voice.call",
        4,
        beside=(
            "voice.agent",
            "voice.bookkeeping",
            "voice.farewell",
            "voice.readers",
            "voice.recovery",
            "voice.reply",
            "voice.services",
        ),
    ),
    Room("voice.after_call", 4),
    Room("voice.agent", 4, beside=("voice.services",)),
    Room("voice.bookkeeping", 4, beside=("voice.recovery",)),
    Room("voice.farewell", 4, beside=("voice.services",)),
    Room("voice.presence", 4),
    Room("voice.readers", 4),
    Room("voice.heartbeat", 4),
    Room("voice.recall", 4),
    Room("voice.recovery", 4, beside=("voice.services",)),
    Room("voice.reply", 4),
    Room("voice.services", 4),
    Room("voice.spending", 4),
    Room("voice.drain", 3),
    Room("voice.garbage", 3),
    Room("voice.memory", 3),
    Room("voice.monitor", 3),
    Room("voice.names", 3),
    Room("voice.watchdog", 3),
    Room("voice.master", 3),
    Room("voice.metrics", 3),
    Room("voice.tracing", 3, beside=("voice.metrics",)),
    Room("voice.wires", 3),
    Room("voice.tools", 3),
    Room("voice.records", 3),
    Room("voice.registry", 2, beside=("voice.errors",)),
    Room("voice.breaker", 2),
    Room("voice.errors", 2),
    Room("voice.call_log", 2),
    Room("voice.recorder", 2),
    Room("voice.limits", 2),
    Room("voice.pressure", 2, beside=("voice.supervision",)),
    Room("voice.log_output", 2),
    Room("voice.tls", 2),
    Room("voice.outgoing", 2, beside=("voice.tls",)),
    Room("voice.logs", 2, beside=("voice.log_output",)),
    Room("voice.sensitive", 2),
    Room("voice.supervision", 2),
    Room("voice.usage", 2),
    Room("voice.sandbox", 2),
    Room("voice.core", 1),
    Room("config", 0),
)

# These import nothing but themselves and what stands here; `stdlib` is all of it, `pypi` everything installed.
ONLY = {
    "config": ("stdlib", "dotenv", "jsonschema"),
    "voice.core": ("stdlib",),
    "voice.sandbox": ("stdlib", "pypi", "voice.core.audio"),
}

# These are imported by nobody but the rooms that stand here, whatever the floor, and by themselves.
RESERVED = {
    "config.start": ("server", "voice.cli", "voice.commands", "gunicorn.conf"),
    "config.settings": ("config", "server", "voice.cli", "voice.commands", "gunicorn.conf"),
    "config.agents": (
        "config",
        "server",
        "voice.cli",
        "voice.commands",
        "gunicorn.conf",
        "voice.after_call",
        "voice.agent",
        "voice.call",
        "voice.farewell",
        "voice.readers",
        "voice.services",
        "voice.tools",
        "voice.web",
    ),
    "config.tools": ("config", "server", "voice.agent", "voice.call", "voice.farewell", "voice.tools", "voice.web"),
    "config.faults": ("config", "server", "voice.cli", "voice.commands", "gunicorn.conf", "voice.errors", "voice.web"),
    "config.prices": (
        "config",
        "server",
        "voice.cli",
        "voice.after_call",
        "voice.usage",
        "voice.services",
        "voice.spending",
        "voice.bookkeeping",
    ),
    "config": ("config",),
    "gevent": (
        "gunicorn.conf",
        "server",
        "voice.__main__",
        "voice.after_call",
        "voice.call",
        "voice.drain",
        "voice.log_output",
        "voice.memory",
        "voice.metrics",
        "voice.names",
        "voice.heartbeat",
        "voice.readers",
        "voice.recall",
        "voice.reply",
        "voice.monitor",
        "voice.presence",
        "voice.pressure",
        "voice.registry",
        "voice.recorder",
        "voice.records",
        "voice.sandbox",
        "voice.supervision",
        "voice.watchdog",
        "voice.wires.beat",
    ),
    "voice.sandbox": ("voice.cli",),
}


def faults(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """What the source of `module` imports against the tables; one line each."""
    found = []
    for line, imported in _imports(module, source, is_package):
        wrong = _wrong(module, imported)
        if wrong:
            found.append(f"{module}, line {line}: imports {imported}, {wrong}")
    return found


def _wrong(module: str, imported: str) -> str | None:
    room = _room(module)
    if room is None:
        return f"and {module} is on no floor: give it a line in ROOMS"
    reserved = next((name for name in RESERVED if _within(imported, name)), None)
    if reserved and not any(_within(module, name) for name in (reserved, *RESERVED[reserved])):
        return f"which is for {', '.join(RESERVED[reserved])}"
    kind = _kind(imported)
    allowed = (room.name, *ONLY.get(room.name, ()))
    if room.name in ONLY and kind not in allowed and not any(_within(imported, name) for name in allowed):
        return f"and may import only {', '.join(allowed)}"
    return _upwards(room, imported) if kind == "ours" else None


def _upwards(room: Room, imported: str) -> str | None:
    target = _room(imported)
    if target is None:
        return "which is on no floor: give it a line in ROOMS"
    if target == room or target.name in room.beside or target.floor < room.floor:
        return None
    return f"from floor {room.floor} to floor {target.floor}"


def _kind(imported: str) -> str:
    top = imported.partition(".")[0]
    if top in OURS:
        return "ours"
    return "stdlib" if top in STDLIB else "pypi"


def _room(module: str) -> Room | None:
    return next((room for room in ROOMS if _within(module, room.name)), None)


def _within(module: str, name: str) -> bool:
    return module == name or module.startswith(name + ".")


def _imports(module: str, source: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported, wherever it stands: in functions and under TYPE_CHECKING too."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            # `from voice.core import audio` names a module, `from voice.core.audio import split` a function in one:
            # both are found by how the full name begins.
            start = ".".join([*parents, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)


def _sources() -> list[Path]:
    files = [ROOT / "server.py", ROOT / "gunicorn.conf.py", *ROOT.glob("config/**/*.py"), *ROOT.glob("voice/**/*.py")]
    return sorted(path for path in files if path.exists())


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).as_posix().removesuffix(".py").removesuffix("/__init__")
    return parts.replace("/", ".")


@pytest.mark.parametrize("path", _sources(), ids=_module)
def test_imports_point_down(path: Path) -> None:
    assert faults(_module(path), path.read_text(), is_package=path.name == "__init__.py") == []


def test_the_whole_tree_is_read() -> None:
    found = {_module(path) for path in _sources()}
    assert {"config.settings", "voice", "voice.core.audio", "voice.sandbox.coded_speech"} <= found


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("voice.reply", "import voice.call", "from floor 4 to floor 4"),
        ("voice.registry", "from voice.web import health", "from floor 2 to floor 5"),
        ("voice.wires.caller", "from voice.tools import hang_up", "from floor 3 to floor 3"),
        ("voice.wires.caller", "from ..monitor import watch", "from floor 3 to floor 3"),
        ("voice.errors", "from voice.registry import Registry", "from floor 2 to floor 2"),
        ("voice.call", "def f():\n    import server", "line 2: imports server, from floor 4 to floor 6"),
        ("voice.core.events", "from voice import errors", "may import only voice.core, stdlib"),
        ("voice.core.events", "import orjson", "may import only"),
        ("voice.core.events", "if TYPE_CHECKING:\n    from config.agents import Agent", "which is for"),
        ("config.agents", "import voice", "may import only config, stdlib"),
        ("config.agents", "import requests", "may import only"),
        ("voice.sandbox.phone", "from voice.core import events", "may import only"),
        ("voice.sandbox.phone", "from voice.wires.caller import Caller", "may import only"),
        ("voice.web.console", "from voice.sandbox import phone", "which is for voice.cli"),
        ("server", "import voice.sandbox.phone", "which is for voice.cli"),
        ("voice.web.health", "from config import settings", "which is for config, server, voice.cli"),
        ("voice.web.health", "from config.start import load", "which is for server"),
        ("voice.wires.caller", "from config.agents import Agent", "which is for"),
        ("voice.call", "import config", "which is for config"),
        ("voice.wires.caller", "from gevent.lock import RLock", "which is for gunicorn.conf"),
        ("voice.call_logs", "import json", "is on no floor"),
        ("voice", "from voice.core import audio", "is on no floor"),
        ("voice.call", "import voice.callers", "on no floor"),
        ("voice.call", "from tests import phone", "on no floor"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str, said: str) -> None:
    (fault,) = faults(module, source)
    assert said in fault


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("server", "from config.start import load\nfrom voice.web import doors\nimport flask"),
        ("gunicorn.conf", "from gevent import monkey\nfrom config.settings import Settings"),
        ("voice.__main__", "from voice.cli import main"),
        ("voice.cli", "from voice.sandbox.phone import Phone\nfrom config.settings import Settings"),
        ("voice.web.health", "from voice.call import Call\nfrom config.agents import Agent\nfrom . import doors"),
        (
            "voice.call",
            "import gevent\nimport voice.call_log\nfrom voice.reply import reply\nfrom voice.wires import caller",
        ),
        ("voice.wires.caller", "from voice.wires.stream_socket import Socket\nfrom voice.errors import VoiceError"),
        ("voice.registry", "from voice.errors import CallRefused\nfrom gevent.lock import RLock"),
        ("voice.errors", "from config.faults import ConfigError\nfrom voice.core.events import Vendor"),
        ("voice.core.playout", "import audioop\nfrom dataclasses import dataclass\nfrom voice.core.audio import Audio"),
        ("voice.sandbox.phone", "import gevent\nimport orjson\nfrom voice.core.audio import frames\nfrom . import wav"),
        ("config.agents", "import tomllib\nfrom config.faults import ConfigError"),
    ],
)
def test_a_right_import_is_no_fault(module: str, source: str) -> None:
    assert faults(module, source) == []
