"""What can go wrong with access, by its fate.

EntitlementError
├── InvalidEntitlementTypeError   business: a person (an admin, the catalog's author) named what cannot be a type
├── ContradictedGrantError        business: another grant stands under the source, and a person decides
└── UnknownUserError              bug: whoever grants access has found or made the user first

Operational failures (the database is away) are SQLAlchemy's own.
"""


class EntitlementError(Exception):
    """Base of what this package raises on purpose. The database is not touched before one of these is raised."""


class InvalidEntitlementTypeError(EntitlementError):
    """An entitlement type that is not 1 to 20 of a-z, 0-9 and _, as the catalog has them."""


class ContradictedGrantError(EntitlementError):
    """Another grant stands under the source and the type; the text says how it differs, for an admin."""


class UnknownUserError(EntitlementError):
    """A grant for a user who is not in `users`."""
