"""Coverage of a run of the tests: `python -m pytest -p tests.support.covered`; below the floor the run fails.

SlipCover writes probes into the code of our packages and takes each out when it was hit once, so a covered run takes
little longer than a bare one. A tracer, as of coverage.py, is called for every line of every library too, and took
twice the time.

pytest imports this plugin before it imports any of our packages, in the run's own process and in each of its workers.
The process that the daemons are forked from imports it first, too (forkserver.py). Each process writes the lines and
branches that it has seen into one directory, and the run's own process adds them up. A killed process writes nothing.
"""

import json
import os
import shutil
from collections import Counter
from multiprocessing.util import Finalize, register_after_fork
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import pytest
import slipcover  # type: ignore[import-untyped]  # ships no types
from slipcover.importer import wrap_spec_from_file_location  # type: ignore[import-untyped]  # the same

PACKAGES: Final = ("bot", "payments", "entitlements", "db", "sandbox")
FLOORS: Final = dict.fromkeys(("bot", "payments", "entitlements", "db"), 88)
"""The least that must be covered of a package, in per cent of its lines and branches."""
MISSING_WIDTH: Final = 60

_DIRECTORY: Final = "STARLEDGER_COVERED"
"""The environment variable that names the directory to the workers and to the daemons."""


class _Probes:
    """The probes of this process, and the file of all that they have seen."""

    def __init__(self) -> None:
        # `immediate` takes a probe out at its first hit; without, SlipCover would swap the code of running functions.
        self.cover = slipcover.Slipcover(
            immediate=True, branch=True, source=list(PACKAGES), exclude_also=["@overload", r"\.\.\.$"]
        )
        matcher = slipcover.FileMatcher(sources=PACKAGES)
        # alembic imports the migrations by their files.
        wrap_spec_from_file_location(self.cover, matcher)
        slipcover.ImportManager(self.cover, matcher).__enter__()
        register_after_fork(self, _Probes._write_at_end)

    def _write_at_end(self) -> None:
        Finalize(None, self.write, exitpriority=0)

    def write(self) -> None:
        """Write what was seen."""
        seen = {name: list(lines) for name, lines in self.cover.newly_seen.items()}
        Path(os.environ[_DIRECTORY], f"{os.getpid()}.json").write_text(json.dumps(seen), encoding="utf-8")

    def add_all(self) -> None:
        """Add what the other processes have seen."""
        for file in Path(os.environ[_DIRECTORY]).iterdir():
            for name, seen in json.loads(file.read_bytes()).items():
                # JSON makes a list of a branch.
                self.cover.newly_seen[name] |= {tuple(each) if isinstance(each, list) else each for each in seen}


_IS_NAMED: Final = _DIRECTORY in os.environ
if not _IS_NAMED:
    os.environ[_DIRECTORY] = mkdtemp(prefix="starledger-covered-")
_PROBES: Final = _Probes()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write what a worker has seen; in the run's own process, fail a run of which a package is below its floor."""
    if hasattr(session.config, "workerinput"):
        _PROBES.write()
        return
    _PROBES.add_all()
    coverage = _PROBES.cover.get_coverage()
    session.config.stash[_COVERAGE] = coverage
    if exitstatus == pytest.ExitCode.OK and _below_floor(coverage):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what no test has reached, and each package with its floor."""
    coverage = config.stash.get(_COVERAGE, None)
    if coverage is None:
        return
    slipcover.print_coverage(coverage, outfile=terminalreporter, missing_width=MISSING_WIDTH, skip_covered=True)
    missed = _below_floor(coverage)
    for package, per_cent in _per_cent(coverage).items():
        floor = f", at least {FLOORS[package]}" if package in FLOORS else ""
        terminalreporter.write_line(f"covered of {package}: {per_cent:.1f} per cent{floor}", red=package in missed)


def pytest_unconfigure() -> None:
    """Remove the directory, in the process that has made it."""
    if not _IS_NAMED:
        shutil.rmtree(os.environ[_DIRECTORY], ignore_errors=True)


_COVERAGE: Final = pytest.StashKey[dict[str, Any]]()


def _per_cent(coverage: dict[str, Any]) -> dict[str, float]:
    """Return how much of each package is covered, in per cent of its lines and branches."""
    hit: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for name, file in coverage["files"].items():
        package = Path(name).parts[0]
        for part in ("lines", "branches"):
            hit[package] += len(file[f"executed_{part}"])
            total[package] += len(file[f"executed_{part}"]) + len(file[f"missing_{part}"])
    return {package: 100 * hit[package] / total[package] for package in PACKAGES if total[package]}


def _below_floor(coverage: dict[str, Any]) -> set[str]:
    """Return the packages that are below their floors."""
    found = _per_cent(coverage)
    return {package for package, floor in FLOORS.items() if found.get(package, 0) < floor}
