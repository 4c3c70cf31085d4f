"""Benchmarks: how fast the desk is, on both engines. `make bench` prints a table; `make test` leaves it out.

Each of commands.py, money.py, ledger.py and reports.py measures figures on a database of engines.py; measurements.py
holds them against their floors. purchases.py compares the desk with a tutorial shop and a bare bot.
"""
