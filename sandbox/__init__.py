"""The sandbox: a Telegram with Stars in a box, for any bot, with Stripe's account for cards and a chat page.

Calls of the Bot API, of Stripe's API and of the control API come in; answers and updates go out. It imports nothing of
the desk. In reading order:

- server.py, __main__.py, demo.py, settings.py, state.py: run a sandbox, and keep it in a file
- world.py: one Telegram with its parts, below; clock.py is its time
- bot_api.py, args.py, methods/, polling.py, updates.py, files.py, commands.py, callbacks.py: the Bot API
- text/, keyboards.py, invoices.py: texts, buttons and invoices, checked as Telegram checks them
- people.py, messages.py, actions.py: persons, groups, chats, and the acts of a person
- checkout.py, charges.py, cards.py, subscriptions.py, ledger.py, history.py: money
- stripe/: a seller's account at Stripe
- faults.py, calls.py, feed.py, views.py, control.py: the other side of Telegram, by the control API
- client.py, remote/: the typed client of the control API
- page/: the chat page
- bot_process.py: a bot as a child process
"""
