"""The sandbox client's calls about the account at Stripe, as its dashboard has it."""

from typing import Literal

from pydantic import TypeAdapter

from sandbox.remote.transport import ROW, Transport
from sandbox.shapes import Json
from sandbox.stripe.dashboard import StripeCharge

_CHARGES = TypeAdapter(list[StripeCharge])


class StripeCalls(Transport):
    """The part of SandboxClient for Stripe's dashboard and the buyers' banks. Refusals of Stripe raise SandboxError."""

    async def stripe_charges(self, limit: int = 100) -> list[StripeCharge]:
        """Ask the sandbox's Stripe for the newest charges with their refunds and disputes, oldest first."""
        return await self.call(_CHARGES, "stripe_charges", limit=limit)

    async def stripe_give_back(self, charge_id: str, amount: int | None = None) -> Json:
        """Have the sandbox's Stripe refund a charge's remainder, or `amount` in its minor unit; return the refund."""
        return await self.call(ROW, "stripe_give_back", charge_id=charge_id, amount=amount)

    async def stripe_fail_refund(self, refund_id: str) -> Json:
        """Have the buyer's bank send a refund back to the sandbox's Stripe; return the refund."""
        return await self.call(ROW, "stripe_fail_refund", refund_id=refund_id)

    async def stripe_open_dispute(self, charge_id: str) -> Json:
        """Have the buyer's bank demand a whole charge from the sandbox's Stripe; return the dispute."""
        return await self.call(ROW, "stripe_open_dispute", charge_id=charge_id)

    async def stripe_close_dispute(self, dispute_id: str, status: Literal["won", "lost"]) -> Json:
        """Have the bank decide a dispute at the sandbox's Stripe; return the dispute."""
        return await self.call(ROW, "stripe_close_dispute", dispute_id=dispute_id, status=status)
