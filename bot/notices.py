"""The words of what is on record to be told (payments/notices.py), in the reader's language."""

from datetime import datetime
from typing import Any, Final

from markupsafe import Markup

from bot.words import Words, for_language
from db.clock import Clock
from payments.notices import Notice

Facts = dict[str, Any]

_AS_THEY_ARE: Final = ("charge_id", "title", "about", "detail", "here", "there")


class NoticeRenderer:
    """Makes the HTML of a notice from its facts. Every value in it is escaped."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def render(self, notice: Notice, facts: Facts, language_code: str | None) -> str:
        """Return a notice's words for a reader of this language (an IETF tag; None: English)."""
        words = for_language(language_code)
        text = words.say(f"notice.{_kind(notice, facts)}", **self._values(notice, facts, words))
        if notice is Notice.REFUNDED and facts["reason"]:
            text += "\n" + words.say("notice.reason", reason=facts["reason"])
        return str(text)

    def _values(self, notice: Notice, facts: Facts, words: Words) -> Facts:
        values: Facts = {name: facts[name] for name in _AS_THEY_ARE if name in facts}
        if "amount" in facts:
            values["amount"] = words.money(facts["amount"], facts["currency"])
        if "buyer" in facts:
            values["who"] = words.say("person", telegram_id=facts["buyer"])
        if notice is Notice.GRANTED:
            values["access"] = self._access(facts, words)
        elif notice in {Notice.PARKED, Notice.QUARANTINED}:
            values["why"] = words.why(facts["reason"])
            values["retry_id"] = facts["retry_id"]
        return values

    def _access(self, facts: Facts, words: Words) -> Markup:
        now = self._clock()
        return Markup("\n").join(
            words.access(entitlement, datetime.fromisoformat(until) if until else None, now)
            for entitlement, until in facts["access"]
        )


def _kind(notice: Notice, facts: Facts) -> str:
    match notice:
        case Notice.GIVING_BACK:
            return f"{notice}.{facts['reason']}"
        case Notice.REFUNDED:
            return notice.value if facts["was_granted"] else f"{notice}.never_granted"
        case Notice.PARKED:
            return f"{notice}.charge" if facts["retry_id"] == facts["charge_id"] else f"{notice}.refund"
        case Notice.LEDGER:
            return f"{notice}.{facts['finding']}"
    return notice.value
