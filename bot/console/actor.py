"""Who gives an order on the command line."""

import getpass
import os


def actor() -> str:
    """Return the actor for the record: `cli:` and the account of whoever gave the order, behind sudo as well."""
    return f"cli:{os.environ.get('SUDO_USER') or getpass.getuser()}"
