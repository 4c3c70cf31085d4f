"""Breaks each listed rule in a scratch copy of the tree, and fails when the tests named for it stay green.

    python -m tests.mutants [WORD]    the mutations whose rule or file has the word in it; all if none is given

Exit status 0: the tests saw every mutation. 1: a mutation lived or fits no more, or its tests are red
without it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import pytest
import typer

from tests.mutants.mutation import Mutation, read_mutations

ROOT: Final = Path(__file__).parents[2]
WORKERS: Final = int(os.environ.get("WORKERS", "2"))
SECONDS_MAX: Final = 300
"""How long the tests of one mutation may take; a mutant that hangs is seen, too."""

TESTS_AT_ONCE_MAX: Final = 200
_FILES: Final = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")


class BrokenListError(Exception):
    """A mutation says nothing: its text is not there, or its tests can't be run."""


def main(words: Sequence[str]) -> int:
    """Try the mutations that the words choose; return the exit status."""
    chosen = [each for each in read_mutations() if all(word in f"{each.file} {each.rule}" for word in words)]
    stale = [str(error) for each in chosen if (error := _misfit(each)) is not None]
    if stale:
        typer.echo("\n  ".join(["these mutations do not fit the code any more:", *stale]))
        return 1
    with ExitStack() as stack:
        copies: SimpleQueue[Path] = SimpleQueue()
        for _ in range(WORKERS):
            copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mutants-")))
            _copy_tree(copy)
            copies.put(copy)
        red = _red_without(chosen, copies)
        if red:
            typer.echo("\n  ".join(["these tests are red without any mutation:", *red]))
            return 1

        def attempt(mutation: Mutation) -> str:
            copy = copies.get()
            try:
                return _try_one(mutation, copy)
            finally:
                copies.put(copy)

        lived = 0
        with ThreadPoolExecutor(WORKERS) as pool:
            for mutation, ending in zip(chosen, pool.map(attempt, chosen), strict=True):
                lived += ending != "killed"
                typer.echo(f"{ending:8} {mutation.file}: {mutation.rule}")
    typer.echo(f"{len(chosen)} mutations, {lived} not killed")
    return 1 if lived or not chosen else 0


def _misfit(mutation: Mutation) -> ValueError | None:
    try:
        mutation.applied_to((ROOT / mutation.file).read_text(encoding="utf-8"))
    except ValueError as error:
        return error
    return None


def _copy_tree(copy: Path) -> None:
    listed = subprocess.run(_FILES, cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603 - git
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)


def _red_without(chosen: Sequence[Mutation], copies: "SimpleQueue[Path]") -> list[str]:
    """Run all named tests on the tree as it is; return the output of the groups that are not green."""
    tests = sorted({test for mutation in chosen for test in mutation.tests})
    copy = copies.get()
    groups = [tests[start : start + TESTS_AT_ONCE_MAX] for start in range(0, len(tests), TESTS_AT_ONCE_MAX)]
    runs = [_run(group, copy, "--numprocesses", str(WORKERS), seconds_max=None) for group in groups]
    copies.put(copy)
    return [run.stdout[-2000:] for run in runs if run is not None and run.returncode != pytest.ExitCode.OK]


def _try_one(mutation: Mutation, copy: Path) -> str:
    """Break one rule in a copy, run its tests there, and mend it again; say how it ended."""
    path = copy / mutation.file
    source = path.read_text(encoding="utf-8")
    path.write_text(mutation.applied_to(source), encoding="utf-8")
    try:
        run = _run(mutation.tests, copy, "--exitfirst", "--numprocesses", "0", seconds_max=SECONDS_MAX)
    finally:
        path.write_text(source, encoding="utf-8")
    if run is None or run.returncode == pytest.ExitCode.TESTS_FAILED:
        return "killed"
    if run.returncode == pytest.ExitCode.OK:
        return "LIVED"
    raise BrokenListError(f"the tests of {mutation.file} ({mutation.rule}) can't be run:\n{run.stdout[-2000:]}")


def _run(
    tests: Sequence[str], copy: Path, *arguments: str, seconds_max: float | None
) -> subprocess.CompletedProcess[str] | None:
    """Run tests in a copy; None: they did not end in time."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, *tests]
    # The bytecode of a broken file must not outlive it: a file is mended within the same second.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(  # noqa: S603 - this very Python
            command, cwd=copy, capture_output=True, text=True, check=False, env=environment, timeout=seconds_max
        )
    except subprocess.TimeoutExpired:
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
