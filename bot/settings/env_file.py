"""The file `.env`: misspelt names in it, and its variables that every program obeys."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

ENCODING: Final = "utf-8-sig"
"""UTF-8, with or without the byte order mark that editors on Windows put first."""

_OF_EVERY_PROGRAM: Final = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Libraries, OpenSSL among them, read these in the environment: `.env` may have them as well."""
_TYPO_SIMILARITY: Final = 0.87


def misspelt(env_file: Path, settings: Iterable[str]) -> list[str]:
    """Return a sentence for each name in `.env` that is nearly a setting's.

    pydantic passes over unknown names, so ADMIN_ID for ADMIN_IDS would leave the desk without an admin.
    """
    names = [name.upper() for name in settings]
    found = []
    for key in dotenv_values(env_file, encoding=ENCODING):
        near = difflib.get_close_matches(key.upper(), names, n=1, cutoff=_TYPO_SIMILARITY)
        if near and near[0] != key.upper():
            found.append(f"{key} in {env_file} is no setting: write {near[0]}")
    return found


def hand_on(env_file: Path) -> None:
    """Put the variables that every program obeys from `.env` into the environment, which wins."""
    for name, value in dotenv_values(env_file, encoding=ENCODING).items():
        if name.upper() in _OF_EVERY_PROGRAM and value:
            is_there = os.environ.get(name.upper()) or os.environ.get(name.lower())
            os.environ[name] = is_there or value
