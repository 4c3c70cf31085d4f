"""The sandbox's client: the parts of SandboxClient, by subject; each call goes to the control API.

transport.py sends the calls, people.py is about persons and chats, money.py about Stars, telegram.py about updates and
faults, stripe.py about the account at Stripe.
"""
