"""What the code does before it is asked for anything, and how it compares what is secret."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

_IMPORT_ALL = """
import os, sys
tried = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        tried.append(f"{event} {arguments[1:] if event == 'socket.connect' else arguments}")
sys.addaudithook(watch)
from gevent import monkey
monkey.patch_all()
import importlib, pathlib
names = ["server"]
for folder in ("voice", "config"):
    for path in sorted(pathlib.Path(folder).rglob("*.py")):
        if "migrations" not in path.parts and path.name != "__main__.py":
            names.append(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
for name in names:
    importlib.import_module(name)
print(len(names), tried)
"""


@pytest.mark.threat(24)
def test_no_import_asks_the_network_or_needs_a_key(tmp_path: Path) -> None:
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", _IMPORT_ALL]
    done = subprocess.run(command, cwd=ROOT, env=bare, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    number, _, tried = done.stdout.strip().partition(" ")
    assert int(number) > 100 and tried == "[]"
    assert list(tmp_path.iterdir()) == [], "nothing is left in the home of whoever runs it"


_SECRET = re.compile(r"token|secret|signature|digest|password|csrf|nonce", re.IGNORECASE)
# Counts and lengths, and the names of things.
_NO_SECRET = re.compile(r"tokens$|max_tokens|first_token", re.IGNORECASE)


def comparisons(source: str) -> list[int]:
    """The lines in which something secret is compared in a time that tells how much of it was right."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
            if any(_is_secret(side) for side in (node.left, *node.comparators)):
                found.append(node.lineno)
    return found


def _is_secret(side: ast.expr) -> bool:
    names = [n.id for n in ast.walk(side) if isinstance(n, ast.Name)]
    names += [n.attr for n in ast.walk(side) if isinstance(n, ast.Attribute)]
    return any(_SECRET.search(name) and not _NO_SECRET.search(name) for name in names)


@pytest.mark.threat(26)
def test_whatever_is_secret_is_compared_in_constant_time() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for folder in ("voice/web", "voice/wires", "voice/records", "voice/tools")
        for path in (ROOT / folder).rglob("*.py")
        for line in comparisons(path.read_text())
    ]
    assert found == []


def test_a_plain_comparison_would_be_found() -> None:
    assert comparisons("if given == self._token:\n    pass") == [1]
    assert comparisons("x = headers['X'] != signature") == [1]
    assert comparisons("hmac.compare_digest(given, self._token)\nif tokens == 3: pass") == []


@pytest.mark.threat(27)
def test_the_unit_leaves_no_core_dump() -> None:
    unit = (ROOT / "deploy" / "voice.service").read_text()
    assert re.search(r"^LimitCORE=0$", unit, re.MULTILINE) and re.search(r"^PrivateTmp=", unit, re.MULTILINE)


def _pins(text: str) -> dict[str, str]:
    pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\\n]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins}


@pytest.mark.threat(24)
def test_every_pinned_package_is_installed_by_its_hash() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert _pins(lock) == _pins((ROOT / "constraints.txt").read_text()), "make lock"
    entries = re.split(r"\n(?=\S)", lock.strip())[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "--require-hashes --no-deps -r requirements.lock" in (ROOT / "Makefile").read_text()
