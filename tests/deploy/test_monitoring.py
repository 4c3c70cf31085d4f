"""The dashboard and the alert rules, compared with the exported metrics."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import prometheus_client
import pytest

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
RULES: Final = DEPLOY / "prometheus-rules.yml"
DASHBOARD: Final = DEPLOY / "grafana-dashboard.json"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian's prometheus package) is not installed here"
)


def _used(expression: str) -> list[tuple[str, set[str]]]:
    """Return the desk's metrics that an expression asks for, each with the labels that it matches by."""
    found = re.findall(r"\b(starledger_\w+)(?:\{([^}]*)\})?", expression)
    return [(name, set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)\"", matchers))) for name, matchers in found]


def _of_dashboard() -> list[str]:
    board: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]


def _of_rules() -> list[str]:
    return re.findall(r"^ +expr: (.+)$", RULES.read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.mark.criterion("O7")
@pytest.mark.parametrize("expressions", [_of_dashboard(), _of_rules()], ids=["dashboard", "rules"])
def test_metrics_of_dashboard_and_rules_are_exported(exported: dict[str, set[str]], expressions: list[str]) -> None:
    assert expressions
    for expression in expressions:
        for name, labels in _used(expression):
            assert name in exported, expression
            assert labels <= exported[name], expression
        grouped = re.findall(r"by \(([^)]*)\)", expression)
        for label in {each.strip() for group in grouped for each in group.split(",")}:
            assert any(label in exported[name] for name, _ in _used(expression)), expression


@pytest.mark.criterion("O7")
def test_the_dashboard_shows_every_metric(exported: dict[str, set[str]]) -> None:
    shown = {name for expression in _of_dashboard() for name, _ in _used(expression)}
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in exported}
    assert families == {re.sub("_(bucket|sum|count)$", "", name) for name in shown}


@pytest.mark.criterion("O7", "L3")
def test_names_and_labels_keep_to_the_rules(exported: dict[str, set[str]]) -> None:
    """Base units in the name, totals say so (prometheus.io/docs/practices/naming), and no label names a person."""
    assert not [name for name in exported if re.search("(milli|micro|minutes|hours|_ms$)", name)]
    assert {label for labels in exported.values() for label in labels} <= {
        "channel",
        "event",
        "le",
        "method",
        "outcome",
        "pool",
        "python",
        "state",
        "verdict",
        "version",
    }
    ours = [family for family in prometheus_client.REGISTRY.collect() if family.name.startswith("starledger_")]
    assert all(family.documentation.endswith(".") or ")" in family.documentation for family in ours)


def _promtool(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - Prometheus's own program
        ["promtool", *arguments],  # noqa: S607 - found above
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


@needs_promtool
def test_prometheus_can_read_the_rules() -> None:
    checked = _promtool("check", "rules", str(RULES), cwd=DEPLOY)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_promtool
def test_the_rules_wake_somebody_when_they_should(tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path)
    shutil.copy(Path(__file__).with_name("alerts.yml"), tmp_path)
    tested = _promtool("test", "rules", "alerts.yml", cwd=tmp_path)
    assert tested.returncode == 0, tested.stdout + tested.stderr
