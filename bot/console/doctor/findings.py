"""What a check says."""

import enum
from dataclasses import dataclass


class Level(enum.StrEnum):
    """How it is with one thing."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: how it is with a subject, in words, and the mend of what is not as it should be."""

    level: Level
    subject: str
    words: str
    mend: str = ""


def ok(subject: str, words: str) -> Finding:
    """Say that something is as it should be."""
    return Finding(Level.OK, subject, words)


def warning(subject: str, words: str, mend: str) -> Finding:
    """Say that something deserves a look."""
    return Finding(Level.WARNING, subject, words, mend)


def failure(subject: str, words: str, mend: str) -> Finding:
    """Say that something has to be mended."""
    return Finding(Level.FAILURE, subject, words, mend)
