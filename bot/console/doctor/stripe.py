"""The check of Stripe: its answer, and the rights of the key. Imports stripe."""

from bot.calls.network import open_session, proxy_to
from bot.console.doctor.checks import Check, failure, ok
from bot.settings import Settings
from payments.errors import ChannelAwayError, ChannelError, UnrecordableError
from payments.stripe.api import StripeApi
from payments.stripe.charge_updates import EVENT_TYPES


async def look_at_stripe(settings: Settings, key: str, since: int) -> Check:
    """Check the key by reading events and charges since a moment (seconds since 1970), as the desk does."""
    api = StripeApi(key, settings.stripe_api_url, open_session(proxy_to(settings.stripe_api_url)))
    try:
        for event_type in EVENT_TYPES:
            async for _ in api.list_events(event_type, since):
                pass
        await api.list_charges(since, since)
    except ChannelAwayError as error:
        return failure("stripe", f"cannot be asked: {error}", f"can this machine reach {settings.stripe_api_url}?")
    except (ChannelError, UnrecordableError) as error:
        return failure(
            "stripe", str(error), "look at STRIPE_SECRET_KEY and what it may: .env.example says what it needs"
        )
    finally:
        await api.close()
    takes = "cards are taken" if settings.payment_token is not None else "cards are no longer taken, refunds go on"
    return ok("stripe", f"answers and knows the key; {takes}")
