"""The desk's daemon as the bench runs it: at a pace of 1000 messages a second, and on demand under a profiler.

SIGUSR1 begins the profile, and the end of the process writes it to the file that BENCH_PROFILE names. The program may
run the code of another checkout (PYTHONPATH), so it imports nothing of the bench.
"""

import cProfile
import os
import signal
from typing import Final

from bot.__main__ import app
from bot.settings import Settings

MESSAGES_PER_SECOND: Final = 1000


def main() -> None:
    """Run the daemon of the environment until a signal."""
    if "messages_per_second" in Settings.model_fields:
        os.environ["MESSAGES_PER_SECOND"] = str(MESSAGES_PER_SECOND)
    else:
        # A checkout without the setting has a constant.
        import bot.sending.outbox as module  # noqa: PLC0415 - imports aiogram

        vars(module)["MESSAGES_PER_SECOND"] = MESSAGES_PER_SECOND
    path = os.environ.get("BENCH_PROFILE")
    profile = cProfile.Profile()
    signal.signal(signal.SIGUSR1, lambda _number, _frame: profile.enable())
    try:
        app(args=["run"], prog_name="python -m bot")
    finally:
        profile.disable()
        if path is not None:
            profile.dump_stats(path)


if __name__ == "__main__":
    main()
