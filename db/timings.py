"""Every time-out and pause that a running desk is given, in one object that is handed in: tests hand in their own."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Time-outs and pauses, in seconds; the defaults are production's. No setting and no environment changes one."""

    # The database
    statement_seconds: float = 10
    """How long a statement, or the wait for a connection, may take."""
    lock_wait_seconds: float = 1.5
    """How long a statement waits for a lock of PostgreSQL: shorter than what a checkout has in all."""
    sqlite_busy_seconds: float = 1.0
    """How long a statement waits for another process's lock of the file: deadlines stay ours."""
    connection_idle_seconds: float = 60.0
    """How long a pooled connection may be idle before it is checked at its next use."""
    connection_answer_seconds: float = 1.0
    """How long a pooled connection that is checked may take to answer."""
    lock_try_seconds: float = 1.0
    """From one try to take the desk's lock to the next, while another desk holds it."""
    lock_answer_seconds: float = 2
    """How long the connection that holds the desk's lock may take to answer."""
    lock_patience_seconds: float = 15.0
    """How long that connection may stay without an answer: after as long the server gives up a client that vanished."""
    lock_stranger_seconds: float = 60.0
    """How long a session that is no desk may hold the desk's lock before the desk reports it."""

    # The start and the end of a desk
    token_patience_seconds: float = 60
    """How long a refused token is tried again: now and then Telegram refuses a good one, once."""
    database_pause_seconds: float = 2.0
    """From one try to reach the database to the next."""
    migration_wait_seconds: float = 30
    """How long a migration waits for a lock that another session holds."""
    lock_check_seconds: float = 1
    """From one look at the desk's lock to the next."""
    lanes_seconds: float = 4
    """How long a stop lets the handlers finish updates that were taken."""
    finish_seconds: float = 8
    """How long a stop finishes what was begun, the handlers' updates among it."""
    end_seconds: float = 9
    """After how long a stop ends the process, whatever still hangs: the desk ends within ten seconds of SIGTERM."""

    # The poll
    outage_pause_seconds_min: float = 0.5
    """From a poll that failed to the next one, at first."""
    outage_pause_seconds_max: float = 5.0
    """The longest pause after many polls that failed."""
    outage_pause_seconds_max_lately: float = 2.0
    """The longest pause when Telegram has answered lately: a pre-checkout that waits there has ten seconds."""
    lately_seconds: float = 3600
    """How long ago an answer of Telegram's counts as lately."""
    outage_log_seconds: float = 60
    """From one log line about an outage to the next."""
    retry_after_seconds_max: float = 3600
    """The longest pause that the poll keeps for Telegram; Telegram asks again for the rest of a longer one."""
    bug_pause_seconds: float = 5
    """The pause after a batch of updates that a bug kept from being taken."""
    same_offset_pause_seconds: float = 1.0
    """From poll to poll at one offset while the database is away: Telegram throttles busier ones."""
    empty_poll_pause_seconds: float = 0.5
    """From poll to poll, at least, when the first brought nothing: something may answer at once, and for ever."""

    # The loops
    loop_idle_seconds: float = 10
    """How long a loop sleeps when nobody wakes it; what other processes asked for is found by then."""
    ledger_retry_seconds: float = 60.0
    """From a reading of Telegram's ledger that failed to the next one."""
    ledger_breath_seconds: float = 1.0
    """The pause within a long reading of the ledger, so that others get at the database."""
    stripe_poll_seconds: float = 60
    """From one reading of Stripe's events to the next."""

    # Watching the desk
    health_look_seconds: float = 1
    """From one look at the desk's health to the next; systemd's watchdog waits for 60 seconds."""
    gauges_read_seconds: float = 2
    """How long a scrape waits for the database; without its answer the gauges of the backlog are left out."""
    sandbox_clock_pause_seconds: float = 0.5
    """From one question for the sandbox's clock to the next."""
    sandbox_clock_answer_seconds: float = 5
    """How long the sandbox's clock may take to answer."""

    # Payments
    checkout_seconds: float = 3.0
    """How long a decision on a pre-checkout may take: with the recording of the batch in front it is five in all."""
    record_seconds: float = 2.0
    """How long the recording of a batch of updates may take: pre-checkouts of the next batch wait behind it."""

    shop_look_seconds: float = 2.0
    """How long the shop asks the database for a reason not to sell; without an answer the catalog alone decides."""

    # Messages
    chat_rest_seconds: float = 1.0
    """From one message in a private chat to the next: Telegram allows one a second (core.telegram.org/bots/faq)."""
    group_rest_seconds: float = 3.0
    """From one message in a group to the next: Telegram allows 20 a minute (core.telegram.org/bots/faq)."""


PRODUCTION: Final = Timings()
