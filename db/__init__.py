"""The database, SQLite or PostgreSQL: its address, the desk's lock on it, transactions, tables, rules, and migrations.

In comes `DATABASE_URL`; out go sessions inside of a transaction, on tables that refuse a false row. In reading order:

- address/: reads `DATABASE_URL`
- errors.py: tells an outage, a refused value and a wrong setting apart
- tls.py, dial.py: connect to a PostgreSQL server
- engine.py: opens transactions to write and sessions to read
- liveness.py: checks pooled PostgreSQL connections before their use
- retry.py: repeats a transaction that PostgreSQL aborted for another one
- lock/: lets one desk poll at a time
- states.py, limits.py, base.py, utc_datetime.py: the values, limits and column types of the tables
- tables.py, desk_tables.py: the shared tables, and the desk's own
- rules.py: the triggers that keep the facts of money rows as the desk wrote them
- users.py: locks the rows of users, first of all
- insert.py: INSERT ... ON CONFLICT for either engine
- migrate.py, migrations/: bring a database to the program's schema
- private_files.py, backup.py, write_ahead_log.py: the SQLite file
- clock.py: the time as a parameter
"""
