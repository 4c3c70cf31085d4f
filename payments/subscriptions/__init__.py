"""The subscriptions room: works out Stars subscriptions from their charges, and has Telegram end or resume renewals.

In: charges and changes of state on record, and the subscriber's wishes. Out: the subscriptions' rows, the ends of their
grants, grace, notices, and calls of editUserStarSubscription.

1. chain.py has one subscription as a chain of charges, and the state that follows from it; it is pure.
2. division.py divides a user's charges on one payload into such chains; it is pure.
3. charges.py reads the charges from the audit table.
4. grants.py dates the charges' grants, and grants grace; book.py writes rows and notices.
5. precedence.py says which of two subscriptions with the same entitlement goes on; running.py asks it, before a payment
   and after.
6. editor.py has Telegram end or resume a renewal, as its row says.
7. keeper.py is the loop over all of these; reminders.py is its part for days that end.
8. listing.py lists a user's subscriptions and records the subscriber's wishes.
"""
