"""The actor on record for an order on the command line."""

import getpass
import os


def actor() -> str:
    """Return the actor: `cli:` and the account of the person who gave the order, behind sudo as well."""
    return f"cli:{os.environ.get('SUDO_USER') or getpass.getuser()}"
