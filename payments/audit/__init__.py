"""The audit room: writes and reads the table of all payments and refunds (`stripe_events`).

In: facts about money from updates, the ledger and Stripe. Out: audit rows, their moves from status to status, sums, the
history of a user, the export, and the erasure of a person.

1. facts.py has the facts about money, as plain data.
2. fact_rows.py records facts as audit rows; events.py finds and locks the rows.
3. transitions.py moves a row from status to status.
4. subscription_changes.py records the changes of a subscription's state.
5. balance.py has the refunded amount and the remainder of a charge.
6. history.py shows a user's payments; export.py gives all rows for accounting.
7. erasure.py empties a person's names and texts.
8. nested_json.py and shown.py make values from other programs harmless to read and to show.
"""
