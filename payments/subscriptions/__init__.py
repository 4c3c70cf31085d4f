"""The subscriptions room: Stars subscriptions, made anew from their charges, and the renewals that are wanted of them.

In: charges and changes of state that stand on record, and the subscriber's wishes. Out: the subscriptions' rows, the
ends of their grants, grace, notices, and calls of editUserStarSubscription.

1. chain.py has one subscription as a chain of charges, and the state that follows from it; it is pure.
2. division.py divides a user's charges on one payload into such chains; it is pure.
3. charges.py reads the charges from the audit table.
4. grants.py dates the charges' grants and grants grace; book.py writes rows and notices.
5. precedence.py says which of two subscriptions with the same entitlement goes on; running.py asks it, before a payment
   and after.
6. editor.py brings a wanted renewal about at Telegram.
7. keeper.py is the loop over all of these; reminders.py is its part for days that end.
8. listing.py shows a user's subscriptions and takes their wishes.
"""
