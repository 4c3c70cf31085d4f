"""The result of one check of `doctor`: ok, a warning or a failure, in words and with the mend."""

import enum
from dataclasses import dataclass


class Level(enum.StrEnum):
    """The level of a result."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Check:
    """The result for one subject, in words, with the mend of a warning or a failure."""

    level: Level
    subject: str
    words: str
    mend: str = ""


def ok(subject: str, words: str) -> Check:
    """Return the check of a subject that is well."""
    return Check(Level.OK, subject, words)


def warning(subject: str, words: str, mend: str) -> Check:
    """Return the check of a subject that deserves a look."""
    return Check(Level.WARNING, subject, words, mend)


def failure(subject: str, words: str, mend: str) -> Check:
    """Return the check of a subject that a person has to mend."""
    return Check(Level.FAILURE, subject, words, mend)
