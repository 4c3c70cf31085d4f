"""Timings: the time-outs and pauses of a running desk, in one object; tests hand in an object of their own."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Time-outs and pauses, in seconds; the defaults are production's. No setting and no environment changes one."""

    # The database
    statement_seconds: float = 10
    """The longest statement, and the longest wait for a pooled connection: a hanging server frees its callers."""
    lock_wait_seconds: float = 1.5
    """The longest wait for a lock of PostgreSQL: half of a checkout's time, so that one locked user stops no other."""
    sqlite_busy_seconds: float = 1.0
    """The longest wait for another process's lock of the SQLite file: short, so that deadlines stay ours."""
    connection_idle_seconds: float = 60.0
    """The idle time after which the pool checks a connection before its use: a NAT may have forgotten it."""
    connection_answer_seconds: float = 1.0
    """The longest answer to that check: a buyer waits behind it."""
    lock_try_seconds: float = 1.0
    """The pause between two tries to take the desk's lock: so soon a desk that stands by takes over."""
    lock_answer_seconds: float = 2
    """The longest wait for an answer of the connection that holds the desk's lock; then the server counts as away."""
    lock_patience_seconds: float = 15.0
    """The silence after which the desk gives that connection up, as the server gives up a client that vanished."""
    lock_stranger_seconds: float = 60.0
    """The time for which a session that is no desk may hold the desk's lock before the desk reports it."""

    # The start and the end of a desk
    token_patience_seconds: float = 60
    """The time for which the start tries a refused token again: now and then Telegram refuses a good one, once."""
    database_pause_seconds: float = 2.0
    """The pause between two tries to reach the database."""
    migration_wait_seconds: float = 30
    """The longest wait of a migration for a lock that another session holds: another desk may be migrating."""
    lock_check_seconds: float = 1
    """The pause between two checks of the desk's lock: so soon a desk that lost it ends."""
    lanes_seconds: float = 4
    """The time that a stop gives the handlers for the updates that they have begun: half of the stop's."""
    finish_seconds: float = 8
    """The time that a stop gives all work that has begun."""
    end_seconds: float = 9
    """The time after which a stop ends the process, whatever hangs: the desk ends within ten seconds of SIGTERM."""

    # The poll
    outage_pause_seconds_min: float = 0.5
    """The first pause after a poll that failed; the pauses grow from there."""
    outage_pause_seconds_max: float = 5.0
    """The longest pause after polls that failed."""
    outage_pause_seconds_max_lately: float = 2.0
    """The longest pause when Telegram has answered lately: a pre-checkout that waits there has ten seconds."""
    lately_seconds: float = 3600
    """The age up to which an answer of Telegram's counts as lately."""
    outage_log_seconds: float = 60
    """The time between two log lines about one outage."""
    retry_after_seconds_max: float = 3600
    """The longest pause that the poll keeps for Telegram, which asks again for the rest of a longer one."""
    bug_pause_seconds: float = 5
    """The pause after a batch of updates that a bug kept the poll from taking."""
    same_offset_pause_seconds: float = 1.0
    """The pause between polls at one offset while the database is away: Telegram throttles busier ones."""
    empty_poll_pause_seconds: float = 0.5
    """The least time between polls after an empty one: a broken gateway may answer at once, and for ever."""

    # The loops
    loop_idle_seconds: float = 10
    """The sleep of a loop that nobody wakes: so soon it finds the work that other processes have asked for."""
    ledger_retry_seconds: float = 60.0
    """The pause after a reading of Telegram's ledger that failed."""
    ledger_breath_seconds: float = 1.0
    """The pause between two runs of a long comparison with the ledger, and the longest rest after one of its pages."""
    ledger_rests_per_page: float = 4
    """The rest after a page of a comparison, by the time that the page took: a comparison is at work a fifth of its
    time, so that it leaves the processor and the database to buyers."""
    stripe_poll_seconds: float = 60
    """The pause between two readings of Stripe's events."""

    # Watching the desk
    health_look_seconds: float = 1
    """The pause between two looks at the desk's health: systemd's watchdog wants a sign of life each minute."""
    gauges_read_seconds: float = 2
    """The longest wait of a scrape for the database; without its answer the scrape leaves the backlog out."""
    sandbox_clock_pause_seconds: float = 0.5
    """The pause between two readings of the sandbox's clock."""
    sandbox_clock_answer_seconds: float = 5
    """The longest answer of the sandbox's clock."""

    # Payments
    checkout_seconds: float = 3.0
    """The deadline of a decision on a pre-checkout: with the recording of the batch in front it is five in all."""
    record_seconds: float = 2.0
    """The deadline for recording a batch of updates: pre-checkouts of the next batch wait behind it."""
    shop_look_seconds: float = 2.0
    """The longest look of the shop into the database; without its answer the catalog alone decides."""

    # Messages
    chat_rest_seconds: float = 1.0
    """The rest of a private chat after a message: Telegram allows one a second (core.telegram.org/bots/faq)."""
    group_rest_seconds: float = 3.0
    """The rest of a group after a message: Telegram allows 20 a minute (core.telegram.org/bots/faq)."""


PRODUCTION: Final = Timings()
