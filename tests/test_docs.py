"""What README.md and docs/ name is there: links, files, `make` targets, settings, commands."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from config.settings import Settings
from voice.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "tests" / "README.md"]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_QUOTED = re.compile(r"`([^`\n]+)`")
_FILE = re.compile(r"(?<![\w/.<…-])((?:voice|config|tests|deploy|docs|\.ci)/[\w./-]*\w)(?![\w*…<])")
_TARGET = re.compile(r"\bmake ((?:[A-Z]+=\S+ )*)([a-z]+)\b")
_NAME = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
_COMMAND = re.compile(r"python -m voice ([a-z]+)(?: ([a-z]+))?")
# Variables of OpenTelemetry's own, and of agents in examples.
OTHERS = frozenset({"OTEL_TRACES_SAMPLER", "OTEL_RESOURCE_ATTRIBUTES", "CALLS_SECRET", "CLINIC_TOKEN"})
EXAMPLES = frozenset({"config/agents/plain.toml", "config/agents/mine.toml"})


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_links_lead_somewhere(page: Path) -> None:
    text = _without_code(page.read_text())
    missing = []
    for link in _LINK.findall(text):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            missing.append(link)
    assert missing == []


def _without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them of the headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_files_are_there(page: Path) -> None:
    named = {name for code in _code(page) for name in _FILE.findall(code)} - EXAMPLES
    assert sorted(name for name in named if not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists()) == []


def test_targets_are_in_the_makefile(page: Path) -> None:
    there = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert [target for code in _code(page) for _, target in _TARGET.findall(code) if target not in there] == []


def test_settings_are_settings(page: Path) -> None:
    ours = {name.upper() for name in Settings.__dataclass_fields__}
    named = {name for code in _code(page) for name in _NAME.findall(code)}
    assert sorted(named - ours - OTHERS) == []


def test_every_setting_is_in_the_readme() -> None:
    ours = {name.upper() for name in Settings.__dataclass_fields__}
    assert sorted(ours - set(_NAME.findall((ROOT / "README.md").read_text())) - {"PORT"}) == []


def test_commands_are_commands(page: Path) -> None:
    unknown = []
    for code in _code(page):
        for name, below in _COMMAND.findall(code):
            command = main.commands.get(name)
            if command is None or (isinstance(command, click.Group) and below not in command.commands):
                unknown.append(f"{name} {below}".strip())
    assert unknown == []


def test_every_page_is_found_from_the_list_of_pages() -> None:
    listed = {link.partition("#")[0] for link in _LINK.findall((ROOT / "docs" / "README.md").read_text())}
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages - listed == set()


def _code(page: Path) -> Iterator[str]:
    """What stands between backticks, and each line that is set off."""
    text = page.read_text()
    yield from _QUOTED.findall(text)
    yield from re.findall(r"^    (?! *[*-] )(.+)$", text, re.MULTILINE)
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from block.splitlines()
