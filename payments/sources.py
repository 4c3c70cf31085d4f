"""What a grant's `source` says beside its payment method's own: which charge it is for, and as what."""

from payments.methods import METHODS


def charge_of(source: str) -> str | None:
    """Return the `event_id` of the charge that a source is of, None if it is of none."""
    for method in METHODS.values():
        if source.startswith(method.source(method.event_id(""))):
            return source.removeprefix(method.source_prefix)
    return None


def delay_source(charge_id: str) -> str:
    """Return the source of the grants that give back the time which a late settlement took."""
    return f"delay:{charge_id}"


def grace_source(charge_id: str) -> str:
    """Return the source of the grants that follow the last paid charge of a subscription whose renewal has failed."""
    return f"grace:{charge_id}"
