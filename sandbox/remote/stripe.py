"""The account at Stripe, as its dashboard has it."""

from typing import Literal

from pydantic import TypeAdapter

from sandbox.remote.transport import ROW, Transport
from sandbox.shapes import Json
from sandbox.stripe.dashboard import StripeCharge

_CHARGES = TypeAdapter(list[StripeCharge])


class StripeCalls(Transport):
    """What somebody does in Stripe's dashboard, or a buyer's bank. Refusals of Stripe raise SandboxError."""

    async def stripe_charges(self, limit: int = 100) -> list[StripeCharge]:
        """Give the newest charges with their refunds and disputes, oldest first."""
        return await self.call(_CHARGES, "stripe_charges", limit=limit)

    async def stripe_give_back(self, charge_id: str, amount: int | None = None) -> Json:
        """Refund what is left of a charge, or `amount` in its minor unit; gives the refund."""
        return await self.call(ROW, "stripe_give_back", charge_id=charge_id, amount=amount)

    async def stripe_fail_refund(self, refund_id: str) -> Json:
        """Have the buyer's bank send a refund back; gives the refund."""
        return await self.call(ROW, "stripe_fail_refund", refund_id=refund_id)

    async def stripe_open_dispute(self, charge_id: str) -> Json:
        """Have the buyer's bank ask for the whole of a charge; gives the dispute."""
        return await self.call(ROW, "stripe_open_dispute", charge_id=charge_id)

    async def stripe_close_dispute(self, dispute_id: str, status: Literal["won", "lost"]) -> Json:
        """Have the bank decide for the seller or for the buyer; gives the dispute."""
        return await self.call(ROW, "stripe_close_dispute", dispute_id=dispute_id, status=status)
