"""The process that the tests' daemons are forked from: it has imported the bot and done a day's work once.

To import aiogram takes seconds, and what is made at its first use (certificates, currencies, mappers, the dispatcher's
signatures) takes as long again as all else in a short life.
"""

import multiprocessing
from multiprocessing.context import ForkServerContext
from typing import Final

FORKSERVER: Final[ForkServerContext] = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["tests.support.rehearsal", "asyncpg"])
