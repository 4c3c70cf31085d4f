"""Refunds: recorded on request, sent to their provider, and matched with the refunds that the provider lists.

A refund is a row of `stripe_events` that names its charge in `refund_of`. Its row moves so:

    /refund, the desk itself (GivenBack)           a provider, Telegram's update or ledger
        requests.py                                    payments/recording, at_provider.py
            |                                              |
            v                                              |
    +----------------+  provider away: backoff             |
    | due            |  provider's pause: due at its end   |
    | status 0 or 2, |<-----------------+                  |
    | due_at is set  |------------------+                  |
    +----------------+  worker, sending.py                 |
      |      |     |                                       |
      |      |     +-- provider has made it --> settlement v
      |      |                               +-------------------------+
      |      |                               | refunded (status 1)     |
      |      |                               | access may end with it  |
      |      |                               +-------------------------+
      |      |                                     |  the buyer's bank sends the money back:
      |      |                                     v  at_provider.py records a row of its own
      |      |                               +-------------------------+
      |      |                               | returned (status 1)     |
      |      |                               | counts the other way    |
      |      |                               +-------------------------+
      |      +-- provider refuses, less is left of the charge: settlement/refused_refunds.py
      |                 |
      |                 v
      |          +----------------------+   a new row, due, of the remainder
      |          | replaced (status 2)  |-- if there is any
      |          +----------------------+
      |                 ^
      |                 | all of a charge went back by other refunds: contradicting.py
      |                 |
      |   +---------------------------+
      +-->| parked (status 2, no      |-- an admin's /retry or /refund --> due
          | due_at)                   |
          +---------------------------+
          the provider refuses for another reason, the last attempt failed, or it contradicts its charge

The boxes are `status`, `outcome` and `due_at`; payments/audit/transitions.py makes the moves, and the database refuses
all others. A refund may arrive before its charge: the desk settles the refund, and later grants the charge born
revoked.
"""
