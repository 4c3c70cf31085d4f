"""The desk's daemon as the bench runs it: in production's way, and on demand under a profiler.

SIGUSR1 begins the profile, and the end of the process writes it to the file that BENCH_PROFILE names. The program may
run the code of another checkout (PYTHONPATH), so it imports nothing of the bench.
"""

import cProfile
import os
import signal
import time

from bot.__main__ import app


def main() -> None:
    """Run the daemon of the environment until a signal."""
    path = os.environ.get("BENCH_PROFILE")
    # The processor time of the loop's thread: the wait for the next event is none.
    profile = cProfile.Profile(time.thread_time)
    signal.signal(signal.SIGUSR1, lambda _number, _frame: profile.enable())
    try:
        app(args=["run"], prog_name="python -m bot")
    finally:
        profile.disable()
        if path is not None:
            profile.dump_stats(path)


if __name__ == "__main__":
    main()
