"""The words and buttons of notices (payments/notices.py), in the reader's language."""

from datetime import datetime
from typing import Any, Final

from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup
from markupsafe import Markup

from bot.chat.words import Words, for_language
from db.clock import Clock
from db.states import STARS_CURRENCY, Renewal
from payments.notices import Notice
from payments.renewals import UNREAD_PLAN, RenewalReason

Facts = dict[str, Any]

_AS_THEY_ARE: Final = (
    "charge_id",
    "title",
    "about",
    "detail",
    "here",
    "there",
    "why",
    "reason",
    "stripe_id",
    "new_chat_id",
    "plan",
)
_VARIANTS: Final = {
    Notice.GIVING_BACK: "reason",
    Notice.REFUND_FAILED: "stays",
    Notice.LEDGER: "finding",
    Notice.STRIPE_TROUBLE: "trouble",
}
"""The fact that chooses among the words of a notice."""
_NOT_LOST: Final = frozenset({"won", "warning_closed"})
"""The ends of a dispute that take no money (Stripe API, the dispute object)."""
_BUY_AGAIN: Final = frozenset({Notice.SUBSCRIPTION_FAILED, Notice.SUBSCRIPTION_ENDED, Notice.ACCESS_ENDS_SOON})


class NoticeRenderer:
    """Renders a notice from its facts as HTML with every value escaped."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def render(self, notice: Notice, facts: Facts, language_code: str | None) -> str:
        """Render the words of a notice in a language (an IETF tag; None: English)."""
        words = for_language(language_code)
        text = words.say(f"notice.{self._kind(notice, facts)}", **self._values(notice, facts, words))
        if notice is Notice.REFUNDED and facts["reason"]:
            text += "\n" + words.say("notice.reason", reason=facts["reason"])
        return str(text)

    def keyboard(self, notice: Notice, facts: Facts, language_code: str | None) -> InlineKeyboardMarkup | None:
        """Return the notice's button that buys an ending plan again, or None; handlers/shop.py answers it."""
        if notice not in _BUY_AGAIN:
            return None
        text = for_language(language_code).plain("button.again", title=facts["title"])
        return InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text=text, callback_data=facts["plan"])]])

    def _values(self, notice: Notice, facts: Facts, words: Words) -> Facts:
        values: Facts = {name: facts[name] for name in _AS_THEY_ARE if name in facts}
        if facts.get("plan") == UNREAD_PLAN:
            values["title"] = words.plain("format.unread")
        if "handle" in facts:
            values["charge_id"] = facts["handle"]
        if "amount" in facts:
            values["amount"] = words.money(facts["amount"], facts["currency"])
        if "price_stars" in facts:
            values["price"] = words.money(facts["price_stars"], STARS_CURRENCY)
        for moment in ("renews_at", "access_until", "until", "read_at", "paid_at"):
            if facts.get(moment) is not None:
                values[moment] = words.date(datetime.fromisoformat(facts[moment]))
        for person in ("buyer", "reader"):
            if person in facts:
                values["who"] = words.say("person", telegram_id=facts[person])
        return values | self._of_its_own(notice, facts, words)

    def _of_its_own(self, notice: Notice, facts: Facts, words: Words) -> Facts:
        """Return the values of this kind of notice alone."""
        values: Facts = {}
        match notice:
            case Notice.GRANTED:
                values["access"] = self._access(facts, words)
            case Notice.PARKED | Notice.QUARANTINED | Notice.RENEWAL_STUCK:
                values["why"] = words.why(facts["reason"])
                values["retry_id"] = facts["retry_id"]
            case Notice.RENEWED_UNWANTED:
                buyer = facts.get("buyer")
                values["whose"] = "" if buyer is None else ", " + words.say("person", telegram_id=buyer)
            case Notice.REFUND_FAILED:
                reason = facts["reason"]
                values["why"] = (
                    words.say("notice.refund_failed.why", reason=reason)
                    if reason
                    else words.say("notice.refund_failed.why_unknown")
                )
            case Notice.LOST_PAYMENT:
                values["fits"] = Markup("\n").join(_fit(fit, facts["stripe_id"], words) for fit in facts["fits"])
                values["others"] = words.say("lost.others", ids=", ".join(facts["others"])) if facts["others"] else ""
        if notice is Notice.RENEWAL_STUCK:
            values["wanted"] = words.say(f"wanted.{facts['renewal']}")
        return values

    def _access(self, facts: Facts, words: Words) -> Markup:
        now = self._clock()
        return Markup("\n").join(
            words.access(entitlement, datetime.fromisoformat(until) if until else None, now)
            for entitlement, until in facts["access"]
        )

    def _kind(self, notice: Notice, facts: Facts) -> str:
        variant = facts[_VARIANTS[notice]] if notice in _VARIANTS else ""
        match notice:
            case Notice.GRANTED if facts.get("is_renewal"):
                variant = "renewal"
            case Notice.REFUNDED if not facts["was_granted"]:
                variant = "never_granted"
            case Notice.REFUNDED if facts.get("is_again"):
                variant = "again"
            case Notice.REFUNDED if facts.get("is_rest"):
                variant = "rest"
            case Notice.DISPUTE_CLOSED if facts["reason"] in _NOT_LOST:
                variant = facts["reason"]
            case Notice.PARKED:
                variant = _what_is_parked(facts)
            case Notice.SUBSCRIPTION_CANCELED | Notice.SUBSCRIPTION_FAILED if not self._is_open(facts):
                variant = "unpaid"
            case Notice.RENEWAL_DONE if facts["renewal"] == Renewal.CANCELED:
                is_told_until = facts["because"] != RenewalReason.BUYER or self._is_open(facts)
                variant = facts["because"] if is_told_until else f"{facts['because']}.unpaid"
            case Notice.RENEWAL_DONE | Notice.RENEWAL_REFUSED:
                variant = facts["renewal"]
        return f"{notice}.{variant}" if variant else notice.value

    def _is_open(self, facts: Facts) -> bool:
        """Tell whether the paid access of a subscription is still open."""
        until = facts["access_until"]
        return until is not None and datetime.fromisoformat(until) > self._clock()


def _what_is_parked(facts: Facts) -> str:
    if facts.get("is_settled"):
        return "settled"
    if facts.get("is_over"):
        return "contradicted"
    return "refund" if facts.get("is_refund", facts["retry_id"] != facts["charge_id"]) else "charge"


def _fit(fit: Facts, stripe_id: str, words: Words) -> Markup:
    """Render one purchase that a lost payment may belong to, with the commands that grant it by hand."""
    who = words.say("person", telegram_id=fit["buyer"])
    lines = [words.say("lost.fit", who=who, title=fit["title"])]
    if fit["entitlements"]:
        first, *more = fit["entitlements"]
        length = "--for-life" if fit["days"] is None else f"--days {fit['days']}"
        of = {"telegram_id": fit["buyer"], "entitlement": first, "length": length, "stripe_id": stripe_id}
        lines.append(words.say("lost.grant", **of))
        lines += [words.say("lost.grant_more", entitlements=", ".join(more))] if more else []
    return Markup("\n").join(lines)
