"""The sandbox's Stripe: a seller's account that charges cards, and its API over HTTP.

account.py is the account, api.py and lists.py its API, dashboard.py the seller's and the banks' side, errors.py its
refusals.
"""
