"""Errors of access, by their fate.

EntitlementError
├── InvalidEntitlementTypeError   business: a person (an admin, the catalog's author) wrote an impossible type
├── ContradictedGrantError        business: another grant stands under the source, and a person decides
└── UnknownUserError              bug: code that grants access finds or makes the user first

Operational failures (the database is away) are SQLAlchemy's own.
"""


class EntitlementError(Exception):
    """Base of the errors of access. One of these is raised before the database is touched."""


class InvalidEntitlementTypeError(EntitlementError):
    """The error of an entitlement type that is not 1 to 20 of a-z, 0-9 and _, as in the catalog."""


class ContradictedGrantError(EntitlementError):
    """The error of another grant under the same source and type; the text says how it differs, for an admin."""


class UnknownUserError(EntitlementError):
    """The error of a grant for a user who is not in `users`."""
