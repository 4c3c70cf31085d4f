"""The reports room: adds up payments over time, each currency by itself, and closes months of the ledger.

In: rows of `stripe_events`, of all channels, and of `ledger_rows`. Out: figures for the console, the chat and the
charts. The room only reads.

1. spans.py divides a report's span of days into steps.
2. counted.py selects the rows that a report counts; costs.py selects the costs in the ledger's rows.
3. figures.py has the sums; reader.py reads them for a span.
4. closing.py closes a month of Telegram's ledger, to the nanostar.
"""
