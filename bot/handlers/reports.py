"""The admins' command /report: revenue and refunds, in words, or as a picture with the same words below."""

import asyncio
import re
from collections.abc import Iterator
from typing import Final

from aiogram import Router
from aiogram.filters import CommandObject
from aiogram.types import BufferedInputFile, Message
from loguru import logger
from markupsafe import Markup

from bot.charts.png import has_font, to_png
from bot.charts.svg import Labels, draw, most_used_first
from bot.chat.bot_name import CommandHere
from bot.chat.talk import answer, answer_with
from bot.chat.words import Words
from bot.handlers.places import WRITTEN_HERE, ByAdmin, InPrivateOrAdminChat, sender_id
from db.clock import Clock
from db.engine import Database
from payments.ledger.nanostars import stars
from payments.reports.figures import Figures, Report, ReportData
from payments.reports.reader import read_report
from payments.reports.spans import USUAL_COUNT, Step, latest

STEPS_MAX: Final = 90
"""Days, weeks or months in one picture; the command line draws more."""
SHOWN_MAX: Final = 4
"""Currencies in one message: a caption has at most 1,024 characters (Bot API, sendPhoto)."""

_WANTED: Final = re.compile(r"(?P<step>day|week|month)(?:\s+(?P<count>[1-9][0-9]{0,2}))?", re.IGNORECASE)


def make_router() -> Router:
    """Return the router of /report, for admins in private chats and in their group."""
    router = Router(name="reports")
    router.message.filter(InPrivateOrAdminChat(), ByAdmin(), WRITTEN_HERE)
    router.message.register(on_report, CommandHere("report", ignore_case=True))
    return router


async def on_report(message: Message, command: CommandObject, words: Words, database: Database, clock: Clock) -> None:
    """Answer /report with this month and the one before, or with a picture of the latest days, weeks or months."""
    args = (command.args or "").strip()
    logger.bind(admin_id=sender_id(message), chat_id=message.chat.id).info("/report {}", args)
    today = clock().date()
    if not args:
        report = await read_report(database, latest(Step.MONTH, 2, today), Step.MONTH)
        parts = [_told(words, month) for month in reversed(report.steps)]
        await answer(message, Markup("\n\n").join(parts))
        return
    wanted = _WANTED.fullmatch(args)
    if wanted is None or int(wanted["count"] or 1) > STEPS_MAX:
        await answer(message, words.say("report.usage", most=STEPS_MAX))
        return
    step = Step(wanted["step"].lower())
    count = int(wanted["count"] or USUAL_COUNT[step])
    report = await read_report(database, latest(step, count, today), step)
    picture = await asyncio.to_thread(_picture, report, step, _labels(words))
    photo = message.answer_photo(BufferedInputFile(picture, "report.png"), caption=_told(words, report.whole))
    await answer_with(message, photo)


def _picture(report: Report, step: Step, labels: Labels) -> bytes:
    if not has_font():
        logger.warning("pictures have no words, for this machine has no font for them: apt install fonts-dejavu-core")
    return to_png(draw(report, step, labels))


def _labels(words: Words) -> Labels:
    return Labels(
        revenue=words.plain("chart.revenue"),
        renewals=words.plain("chart.renewals"),
        given_back=words.plain("chart.given_back"),
        net=words.plain("chart.net"),
        nothing=words.plain("chart.nothing"),
    )


def _told(words: Words, reading: ReportData) -> Markup:
    title = words.say("report.title", first=reading.span.first, last=reading.span.last)
    return Markup("\n").join([title, *_lines(words, reading)])


def _lines(words: Words, reading: ReportData) -> Iterator[Markup]:
    currencies = most_used_first(reading)
    if not currencies:
        yield words.say("report.nothing")
    for currency in currencies[:SHOWN_MAX]:
        figures = reading.figures(currency)
        yield words.say(
            "report.currency",
            net=_net(words, figures, currency),
            revenue=words.money(figures.revenue, currency),
            renewed=words.money(figures.renewal_revenue, currency),
            given_back=words.money(figures.given_back, currency),
            purchases=figures.purchases,
            subscriptions=figures.new_subscriptions,
            renewals=figures.renewals,
            refunds=figures.refunds,
            payers=reading.payers.get(currency, 0),
        )
        if figures.has_costs:
            yield words.say(
                "report.costs",
                commission=stars(figures.commission_nanostars),
                costs=stars(figures.costs_nanostars),
            )
    if len(currencies) > SHOWN_MAX:
        yield words.say("report.more", count=len(currencies) - SHOWN_MAX)


def _net(words: Words, figures: Figures, currency: str) -> Markup | str:
    """Return the net amount of a report in words; net of costs, it has Stars to the nanostar."""
    if figures.has_costs:
        return words.plain("format.stars", amount=stars(figures.left_nanostars))
    return words.money(figures.net, currency)
