"""The texts of the chats by key, in the reader's language, in English where a language has none.

The texts are in locales/LANGUAGE/LC_MESSAGES/starledger.po, by short keys, with their values in braces. They are HTML
(Bot API, HTML style), and `Words.say` escapes every value, so that no name of a user becomes markup. Telegram shows the
keys under `PLAIN` as they are: `Words.plain`.
"""

import functools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from aiogram.utils.i18n import I18n
from babel import Locale
from babel.dates import format_datetime
from babel.numbers import format_currency, format_decimal
from markupsafe import Markup, escape

from bot.chat.money import in_major
from db.states import STARS_CURRENCY
from payments.audit.shown import bounded, cut
from payments.settlement.judgement import GIVEN_BACK_FOR, ChargeProblem

_EXPLAINED: Final = frozenset({*ChargeProblem, *GIVEN_BACK_FOR})
"""The reasons with texts of their own, under `why.`."""

PLAIN: Final = ("button.", "chart.", "command.", "decline.", "format.", "toast.")
"""Prefixes of texts without markup: buttons, pictures, menus, refusals in the payment window, pop-ups."""

VALUE_LENGTH_MAX: Final = 1024
"""The limit of a value in a text: the length of the longest charge id (payments/recording/fields.py)."""
CURRENCY_LENGTH_MAX: Final = 8

_FALLBACK: Final = "en"
_LOCALES: Final = Path(__file__).parents[1] / "locales"


def load_locales(directory: Path = _LOCALES) -> I18n:
    """Load the compiled words of all languages; a text that a language lacks is English.

    Ends the program with one line in a checkout where nobody has compiled them: make and the wheel do.
    """
    try:
        i18n = I18n(path=directory, default_locale=_FALLBACK, domain="starledger")
    except RuntimeError as error:
        raise SystemExit(f"{error} Compile the texts of the chats: make messages") from None
    for name, translations in i18n.locales.items():
        if name != _FALLBACK:
            translations.add_fallback(i18n.locales[_FALLBACK])
    return i18n


@dataclass(frozen=True, slots=True)
class Words:
    """The texts of the chats in one language."""

    locale: str
    i18n: I18n

    def say(self, key: str, /, *, count: int | None = None, **values: object) -> Markup:
        """Return the words of a key for a message, as HTML; it escapes every value that is not itself Markup.

        `count` picks the plural form of the keys that have one, and is a value too.
        """
        shown = {name: self._shown(value) for name, value in values.items()}
        return Markup(self._template(key, count)).format(count=count, **shown)  # noqa: S704 - our own text

    def _shown(self, value: object) -> object:
        """Cut a value that is too long to read; leave Markup whole.

        Markup needs no cut, because its values are cut already.
        """
        return cut(value, VALUE_LENGTH_MAX) if isinstance(value, str) and not isinstance(value, Markup) else value

    def plain(self, key: str, /, *, count: int | None = None, **values: object) -> str:
        """Return the words of a key under `PLAIN`, which Telegram shows as they are."""
        return self._template(key, count).format(count=count, **values)

    def date(self, moment: datetime) -> str:
        """Put an aware moment into words, as date and time in UTC: 23 December 2026, 07:02 UTC."""
        pattern = self.plain("format.date")
        return format_datetime(moment.astimezone(UTC), pattern, tzinfo=UTC, locale=self.locale)

    def money(self, amount: int, currency: str) -> str:
        """Put an amount of the currency's minor unit (Stars have none: Stars) into words: 200 ⭐, 4.99 USD."""
        if currency == STARS_CURRENCY:
            return self.plain("format.stars", amount=format_decimal(bounded(amount), locale=self.locale))
        code = cut(currency, CURRENCY_LENGTH_MAX)
        return format_currency(in_major(amount, code), code, "#,##0.00 ¤¤", locale=self.locale)

    def left(self, until: datetime, now: datetime) -> Markup:
        """Put the time until a moment into words, as days, of which the last counts whole: 30 days left."""
        return self.say("left", count=-(-(until - now) // timedelta(days=1)))

    def access(self, entitlement: str, until: datetime | None, now: datetime) -> Markup:
        """Put an entitlement and its end into words; `until` None: for life."""
        if until is None:
            return self.say("access.for_ever", entitlement=entitlement)
        if until <= now:
            return self.say("access.over", entitlement=entitlement, until=self.date(until))
        return self.say("access.until", entitlement=entitlement, until=self.date(until), left=self.left(until, now))

    def why(self, reason: str) -> Markup:
        """Put a reason into words: our own reasons by texts of ours, any other (a provider's words) as it is."""
        return self.say(f"why.{reason}") if reason in _EXPLAINED else escape(reason)

    def _template(self, key: str, count: int | None) -> str:
        if count is None:
            return self.i18n.gettext(key, locale=self.locale)
        return self.i18n.gettext(key, key, count, locale=self.locale)


@functools.cache
def our_locales() -> I18n:
    """Return the compiled texts of all languages, loaded at the first call. Ends the program as `load_locales`."""
    return load_locales()


def for_language(code: str | None, i18n: I18n | None = None) -> Words:
    """Return the words for an IETF language tag (Bot API, User: language_code), in the nearest language."""
    i18n = i18n or our_locales()
    tag = (code or "").replace("-", "_")
    nearest = Locale.negotiate([tag], i18n.available_locales)
    return Words(str(nearest) if nearest else _FALLBACK, i18n)
