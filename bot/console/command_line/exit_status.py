"""The exit status of a command: 78 and one line for a fault that a person has to mend, else 1 and the log."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer
from loguru import logger

from bot.monitoring import logs
from bot.monitoring.systemd import is_journal, prioritised
from bot.settings import SettingsError
from db.errors import AnotherDeskError, UnfitServerError, WrongDatabaseError, is_away
from db.lock.proof import is_pooler_error, pooler_error
from payments.sale.catalog_file import CatalogError

EXIT_FAILED: Final = 1
EXIT_WRONG_SETTING: Final = 78
"""EX_CONFIG of sysexits.h."""


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Turn an error of the block into 78 and one line, if a person has to mend it, else into 1 and the log."""
    logs.configure("INFO", "text")
    try:
        yield
    except (typer.BadParameter, BrokenPipeError):
        # Typer itself reports a wrong argument, and ends quietly when the reader of the output has ended.
        raise
    except (SettingsError, WrongDatabaseError, UnfitServerError) as error:
        _complain(str(error))
        raise typer.Exit(EXIT_WRONG_SETTING) from None
    except CatalogError as error:
        mend = "CATALOG_FILE is no catalog to sell from: mend the file, or put the path of another into .env"
        _complain(f"{mend}: {error}")
        raise typer.Exit(EXIT_WRONG_SETTING) from None
    except AnotherDeskError as error:
        _complain(str(error))
        raise typer.Exit(EXIT_FAILED) from None
    except Exception as error:  # noqa: BLE001 - Python would print it beside the log, with the secrets in it
        if is_pooler_error(error):
            _complain(str(pooler_error()))
            raise typer.Exit(EXIT_WRONG_SETTING) from None
        if is_away(error):
            logger.error("the database does not answer: {}: {}", type(error).__name__, str(error).partition("\n")[0])
        else:
            logger.exception("stopped by an error that nobody expected")
        raise typer.Exit(EXIT_FAILED) from None


def _complain(words: str) -> None:
    line = f"starledger: {words}"
    typer.echo(prioritised(line, logging.ERROR) if is_journal(sys.stderr) else line, err=True)
