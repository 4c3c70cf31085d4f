"""The mission's list, line by line, with the tests of each and their results: a plugin of pytest.

    python -m pytest -p tests.support.acceptance                   runs the tests that the list names, and prints it
    python -m pytest -p tests.support.acceptance --collect-only    prints the lines that no test names, and runs none

It exits with 1 when a line has no test or a failing one.
"""

import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

_LIST: Final = tomllib.loads(Path(__file__).with_name("criteria.toml").read_text(encoding="utf-8"))
_NAMED: Final[list[str]] = _LIST["named"]["tests"]
_SECTIONS: Final[dict[str, dict[str, str]]] = {name: lines for name, lines in _LIST.items() if name != "named"} | {
    "The document's own tests": dict.fromkeys(_NAMED, "")
}
_LINES: Final = frozenset(line for lines in _SECTIONS.values() for line in lines)


def _lines_of(item: pytest.Item) -> set[str]:
    """Return the lines of the list that a test names by its marker, and the one that is its own name."""
    marked = {line for marker in item.iter_markers("criterion") for line in marker.args}
    unknown = marked - _LINES
    if unknown:
        raise pytest.UsageError(f"{item.nodeid} names lines that are not in criteria.toml: {', '.join(unknown)}")
    return marked | ({item.name.partition("[")[0]} & set(_NAMED))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that a line names, and let each carry its lines to where the results come in (pytest-xdist)."""
    lines = {item: _lines_of(item) for item in items}
    for item in items:
        item.user_properties.extend(("line", line) for line in sorted(lines[item]))
    config.hook.pytest_deselected(items=[item for item in items if not lines[item]])
    items[:] = [item for item in items if lines[item]]


def pytest_configure(config: pytest.Config) -> None:
    """Gather the results where they come in: in the process that the workers of pytest-xdist report to."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Acceptance(is_run=not config.option.collectonly))


class _Acceptance:
    """The tests of each line, and how they ended."""

    def __init__(self, *, is_run: bool) -> None:
        self._is_run = is_run
        # By line and test, the endings of its variants: passed, failed, skipped; or collected.
        self._endings: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in () if self._is_run else session.items:
            for line in _lines_of(item):
                self._endings[line][item.nodeid.partition("[")[0]].append("collected")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed:
            for key, line in report.user_properties:
                if key == "line":
                    self._endings[str(line)][report.nodeid.partition("[")[0]].append(report.outcome)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.exitstatus == pytest.ExitCode.OK and any(map(self._lack, _LINES)):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for section, lines in _SECTIONS.items():
            shown = [line for line in lines if self._is_run or self._lack(line)]
            if shown:
                terminalreporter.section(section)
            for line in shown:
                lack = self._lack(line)
                terminalreporter.line(f"{line:4} {lines[line]}{lack and f'  <- {lack}'}", red=bool(lack))
                for told in self._tests_of(line):
                    terminalreporter.line(f"       {told}")
        lacking = {line: self._lack(line) for line in _LINES if self._lack(line)}
        terminalreporter.section("acceptance")
        terminalreporter.line(f"{len(_LINES) - len(lacking)} of {len(_LINES)} lines stand", red=bool(lacking))

    def _tests_of(self, line: str) -> Iterator[str]:
        for test, endings in sorted(self._endings[line].items()):
            if self._is_run:
                yield f"{endings.count('passed')} of {len(endings)} passed: {test}"

    def _lack(self, line: str) -> str:
        """Say what a line lacks; nothing when each of its tests passed."""
        endings = {ending for each in self._endings[line].values() for ending in each}
        if not endings:
            return "no test"
        return "failing" if "failed" in endings else "" if endings & {"passed", "collected"} else "only skipped"
