"""Settings of a sandbox at its start, and switches for behaviour that tests change while it runs."""

from dataclasses import dataclass, field

CHARGE_ID_LENGTH_MIN = 24
PROVIDER_TOKEN = "284685063:TEST:SandboxSandboxSandbox"  # noqa: S105 - opens nothing but a sandbox
STRIPE_KEY = "sk_test_51SandboxSandboxSandbox"
TOKEN = "100200300:SandboxTokenSandboxTokenSandboxToken"  # noqa: S105 - opens nothing but a sandbox


@dataclass(slots=True)
class Switches:
    """Switches for behaviour of Telegram that is undocumented or changes: the default is our guess."""

    refuse_refund_below_balance: bool = False
    """refundStarPayment answers BALANCE_TOO_LOW instead of letting the balance go negative."""
    announce_bot_cancel: bool = False
    """A `subscription` update follows the bot's own editUserStarSubscription."""
    price_stars_max: int = 100_000
    """The highest price of a one-time invoice."""
    server_before_9: bool = False
    """The Bot API server is older than 9.0: no `transaction_type`, no getMyStarBalance, no `subscription` updates."""
    affiliate_per_mille: int = 0
    """An affiliate brought each buyer, and gets this share as commission."""
    affiliate_amounts_net: bool = False
    """The amount of a row with an affiliate is the price without the commission."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a sandbox at its start. The same seed gives the same identifiers in the same order."""

    token: str = TOKEN
    seed: int | None = None
    charge_id_length: int = 110
    latency_ms: int = 0
    bot_name: str = "Sandbox Bot"
    bot_username: str = "sandbox_bot"
    provider_token: str = PROVIDER_TOKEN
    """The provider token that sendInvoice needs for a card payment."""
    stripe_key: str = STRIPE_KEY
    """The secret key of the account at Stripe where cards are charged."""
    stripe_url: str | None = None
    """The address of another Stripe that has that account, such as localstripe; None: it is the sandbox's own."""
    switches: Switches = field(default_factory=Switches)

    def __post_init__(self) -> None:
        if self.charge_id_length < CHARGE_ID_LENGTH_MIN:
            raise ValueError(f"charge_id_length must be at least {CHARGE_ID_LENGTH_MIN}, to tell charges apart")
        if not self.token.partition(":")[0].isdigit() or not self.token.partition(":")[2]:
            raise ValueError("token must look like 123456:letters")
