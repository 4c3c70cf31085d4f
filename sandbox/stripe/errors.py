"""Refusals of Stripe, in Stripe's own form (Stripe API reference, errors)."""

from sandbox.shapes import Json, without_none

INVALID_REQUEST = "invalid_request_error"
CARD = "card_error"
IDEMPOTENCY = "idempotency_error"


class StripeRefusalError(Exception):
    """A refusal of Stripe: an HTTP status, Stripe's words, the kind of the error, and its code where it has one."""

    def __init__(self, status: int, words: str, code: str | None = None, kind: str = INVALID_REQUEST) -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.code = code
        self.kind = kind

    def body(self) -> Json:
        """Return the JSON body of Stripe's refusal."""
        return {"error": without_none(type=self.kind, code=self.code, message=self.words)}


def missing(kind: str, object_id: str) -> StripeRefusalError:
    """Return Stripe's refusal 404 for an id that the account does not have."""
    return StripeRefusalError(404, f"No such {kind}: '{object_id}'", "resource_missing")
