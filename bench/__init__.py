"""Benchmarks: how fast the desk is, on both engines. `make bench` prints a table; `make test` leaves it out.

purchases.py compares whole purchases with those of a tutorial shop and a bare bot, backlog.py and starts.py measure the
daemon from outside; growth.py, messages.py, money.py, ledger.py, reports.py and commands.py measure figures on a
database of engines.py. measurements.py holds them against their bounds, and document.py writes docs/benchmarks.md.
"""
