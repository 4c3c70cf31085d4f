"""The Stripe room: buyers pay by card inside Telegram with a provider token, and Stripe holds the money.

In: refund orders of the worker; Stripe's events, charges, refunds and disputes, by polling. Out: refunds at Stripe,
audit rows of refunds and lost disputes there, and notices to the admins.

1. api.py calls Stripe and reads its objects.
2. cards.py is the channel of cards: it makes a refund that is on record.
3. watch.py is the loop over Stripe's events; charge_updates.py records the news of one charge of ours.
4. late_charges.py asks Stripe about charges that came on record after the watch had skipped their events.
5. lost_payments.py searches Stripe for payments whose update never came.
6. trouble.py tells the admins when the desk cannot read Stripe.
"""
