"""docs/metrics.md, the alert rules and the dashboard name the figures that there are, with their labels."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from voice.metrics import series

DOCS = Path(__file__).parents[2] / "docs"
_ROW = re.compile(r"^\| `(voice_\w+)` \| ([^|]*)\| ([^|]+) \|", re.MULTILINE)
_SELECTED = re.compile(r"\b(voice_\w+)(?:\{([^}]*)\})?")
_GROUPED = re.compile(r"\bby \(([^)]*)\)")
# Prometheus adds them.
_EVERYWHERE = {"instance", "job", "le"}


def _figures() -> dict[str, tuple[str, ...]]:
    """Name, as docs/metrics.md has it, and labels of each."""
    metrics = {metric for metric in series.REGISTRY._collector_to_names}
    return {_name(metric): metric._labelnames for metric in metrics}  # type: ignore[attr-defined]


def _name(metric: Any) -> str:
    return f"{metric._name}_total" if metric._type == "counter" else str(metric._name)


def _samples() -> dict[str, tuple[str, ...]]:
    """What Prometheus keeps of them."""
    found = dict(_figures())
    for name in list(found):
        if name.endswith("_seconds"):
            found |= {f"{name}_{part}": found[name] for part in ("bucket", "sum", "count")}
    return found


def test_every_figure_is_explained_with_its_labels() -> None:
    told = {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels, _ in _ROW.findall(text())}
    assert told == _figures()


def text() -> str:
    return (DOCS / "metrics.md").read_text()


def _rules() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
            assert rule["labels"]["severity"] in ("page", "warn") and set(rule["annotations"]) == {"summary", "action"}
            yield rule["alert"], rule["expr"]


def _panels() -> Iterator[tuple[str, str]]:
    for panel in _dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def _dashboard() -> Any:
    return json.loads((DOCS / "grafana-dashboard.json").read_text())


@pytest.mark.parametrize(("what", "expression"), [*_rules(), *_panels()])
def test_rules_and_panels_ask_for_what_there_is(what: str, expression: str) -> None:
    known = _samples()
    asked = _SELECTED.findall(expression)
    assert asked, what
    labels = set(_EVERYWHERE)
    for name, selector in asked:
        assert name in known, f"{what}: there is no {name}"
        labels |= set(known[name])
        for label in re.findall(r'(\w+)\s*=?~?!?="?', selector):
            assert label in _EVERYWHERE | set(known[name]), f"{what}: {name} has no label {label}"
    for grouped in _GROUPED.findall(expression):
        assert {label.strip() for label in grouped.split(",")} <= labels, what
    assert [expression.count(one) for one in "({["] == [expression.count(one) for one in ")}]"]


def test_the_dashboard_shows_every_figure_and_its_panels_do_not_overlap() -> None:
    asked = " ".join(expression for _, expression in _panels())
    missing = [name for name in _figures() if name not in asked]
    assert missing == []
    taken: set[tuple[int, int]] = set()
    panels = _dashboard()["panels"]
    for panel in panels:
        at = panel["gridPos"]
        places = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not places & taken and all(x < 24 for x, _ in places), panel["title"]
        taken |= places
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool, which comes with Prometheus, is not installed")
def test_promtool_takes_the_rules_and_what_the_panels_ask(tmp_path: Path) -> None:
    assert _promtool(DOCS / "alerts.yml") == 0
    expressions = [expression.replace("$__rate_interval", "1m") for _, expression in _panels()]
    rules = [{"record": f"panel_{number}", "expr": expression} for number, expression in enumerate(expressions)]
    panels = tmp_path / "panels.yml"
    panels.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert _promtool(panels) == 0
    rules[0]["expr"] = expressions[0] + ")"
    panels.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert _promtool(panels) != 0, "it finds what is wrong"


def _promtool(rules: Path) -> int:
    done = subprocess.run(["promtool", "check", "rules", str(rules)], capture_output=True, text=True)
    print(done.stdout, done.stderr)
    return done.returncode
