"""The recording room: turns updates into audit rows, before the poll confirms them to Telegram.

In: raw updates of the poll loop. Out: rows of `stripe_events` at status 0 and due, changes of subscriptions, and
updates in quarantine with a notice to the admins.

1. fields.py checks the fields of narrow models.
2. updates.py reads the charge, refund or subscription change in a raw update.
3. recorder.py records a batch of updates within a deadline.
4. quarantine.py keeps an update that the desk cannot record.
"""
