"""The ledger room: compares Telegram's ledger of Stars with our rows, and rebuilds the database from it.

In: pages of getStarTransactions and the bot's Star balance. Out: audit rows that fall due, rows of `ledger_rows`, and
notices to the admins of every difference. It leaves calls of a channel to the worker, and buyers to the outbox.

1. fetching.py asks Telegram for a page and for the balance.
2. rows.py reads one raw row; partners.py reads its other side, commissions.py an affiliate's share of it.
3. nanostars.py has the unit of the amounts.
4. pages.py compares a page with our audit rows and records the missing ones.
5. kept.py stores the page's rows in `ledger_rows`.
6. scan.py reads page after page, each in one transaction; progress.py keeps the place that the scan has reached.
7. findings.py counts the differences and reports them to the admins; drift.py sums them up for metrics and health.
8. reconciliation.py compares the new ledger rows with ours every few minutes while the desk runs.
9. rebuild.py is the whole pass; plain.py settles its simple payments in bulk.
"""
