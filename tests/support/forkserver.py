"""The process that the tests' daemons are forked from: it has imported the bot and done a day's work once.

To import aiogram takes seconds, and what is made at its first use (certificates, currencies, mappers, the dispatcher's
signatures) takes as long again as all else in a short life.
"""

import multiprocessing
import sys
from multiprocessing.context import ForkServerContext
from typing import Final

FORKSERVER: Final[ForkServerContext] = multiprocessing.get_context("forkserver")
# Before any of our packages is imported there, in a run that wants to know what it covers (covered.py).
_COVERED: Final = [name for name in ("tests.support.covered",) if name in sys.modules]
FORKSERVER.set_forkserver_preload([*_COVERED, "tests.support.rehearsal", "asyncpg"])
