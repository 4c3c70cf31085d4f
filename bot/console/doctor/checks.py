"""What is said of each thing that is looked at."""

import enum
from dataclasses import dataclass


class Level(enum.StrEnum):
    """How it is with one thing."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Check:
    """One line: how it is with a subject, in words, and the mend of what is not as it should be."""

    level: Level
    subject: str
    words: str
    mend: str = ""


def ok(subject: str, words: str) -> Check:
    """Say that something is as it should be."""
    return Check(Level.OK, subject, words)


def warning(subject: str, words: str, mend: str) -> Check:
    """Say that something deserves a look."""
    return Check(Level.WARNING, subject, words, mend)


def failure(subject: str, words: str, mend: str) -> Check:
    """Say that something has to be mended."""
    return Check(Level.FAILURE, subject, words, mend)
