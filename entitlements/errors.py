"""Errors of access, by their fate.

EntitlementError
├── InvalidEntitlementTypeError   business: a person (an admin, the catalog's author) wrote an impossible type
├── ContradictedGrantError        business: another grant stands under the source, and a person decides
└── UnknownUserError              bug: code that grants access finds or makes the user first

Operational failures (the database is away) are SQLAlchemy's own.
"""


class EntitlementError(Exception):
    """Base of the errors of access. The service raises one of these before the refused grant changes a row."""


class InvalidEntitlementTypeError(EntitlementError):
    """An entitlement type is not 1 to 20 of a-z, 0-9 and _, as in the catalog."""


class ContradictedGrantError(EntitlementError):
    """Another grant is on record under the same source and type; the text tells an admin the difference."""


class UnknownUserError(EntitlementError):
    """No user in `users` has the id that a grant names."""
