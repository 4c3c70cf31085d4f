"""One mutation: a rule of the code broken on purpose, and the tests that must turn red."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LISTS: Final = Path(__file__).parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutation:
    """A text of one file that stands there once, what takes its place, and the pytest ids that see it."""

    rule: str
    file: str
    replace: str
    by: str
    tests: tuple[str, ...]

    def applied_to(self, source: str) -> str:
        """Return the source with the rule broken.

        Raises ValueError when the text does not stand there exactly once, because the list is then out of date.
        """
        count = source.count(self.replace)
        if count != 1:
            raise ValueError(f"{self.file} has {count} times, not once: {self.replace!r}")
        return source.replace(self.replace, self.by)


def read_mutations() -> Iterator[Mutation]:
    """Yield the mutations of all lists (*.toml in this folder), list by list."""
    for path in sorted(LISTS.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutation"]:
            yield Mutation(**entry | {"tests": tuple(entry["tests"])})
