"""The hands of a person on the page: write, press, pay, follow a link; each answer shows in that person's pane."""

import re
from typing import TYPE_CHECKING

from nicegui import ui

from sandbox.callbacks import Press
from sandbox.client import SandboxClient
from sandbox.invoices import LINK_PREFIX, STARS
from sandbox.messages import ChatMessage
from sandbox.page.card_sheet import CardSheet
from sandbox.page.elements import box, button, line
from sandbox.page.my_stars import MyStars
from sandbox.page.sheet import PaymentSheet
from sandbox.page.speaker import Speaker
from sandbox.people import Reach
from sandbox.remote.transport import SandboxError, SandboxTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.shapes import Json

ANSWER_SECONDS = 30.0
TOAST_SECONDS = 4.0
_LINK = re.compile(rf"{re.escape(LINK_PREFIX)}(?P<offer>\w+)")


class Hands:
    """The hands of a pane's speaker. `cover` is the layer above the chat, for sheets, alerts and toasts."""

    def __init__(self, client: SandboxClient, speaker: Speaker, bot_username: str, cover: ui.element) -> None:
        self.client = client
        self.speaker = speaker
        self.sheet = PaymentSheet(client, speaker, cover, self.toast)
        self.card_sheet = CardSheet(self.sheet)
        self.my_stars = MyStars(client, speaker, cover, self.toast)
        self._cover = cover
        self._start_link = re.compile(
            rf"(?:https?://t\.me/|tg://resolve\?domain=){re.escape(bot_username)}(?:[?&]start=(?P<parameter>[\w-]*))?",
            re.IGNORECASE,
        )

    async def send(self, text: str) -> None:
        """Send a text into the pane's chat."""
        speaker = self.speaker
        try:
            await self.client.send_text(speaker.user_id, text, chat_id=speaker.chat_id, anonymous=speaker.anonymous)
        except SandboxError as refusal:
            self.toast(str(refusal))

    async def set_reach(self, reach: Reach) -> None:
        """Block or unblock the bot for the pane's person."""
        await self.client.set_reach(self.speaker.user_id, reach)

    async def press(self, message_id: int, data: str) -> None:
        """Press a button with callback_data in a pane, and show the bot's answer."""
        try:
            press = await self.client.press(self.speaker.user_id, message_id, data=data, chat_id=self.speaker.chat_id)
            self._show_answer(await self.client.press_answer(press.id, timeout_seconds=ANSWER_SECONDS))
        except SandboxTimeoutError:
            self.toast("The bot has not answered.")
        except SandboxError as refusal:
            self.toast(str(refusal))

    async def pay(self, found: ChatMessage) -> None:
        """Open the payment sheet of an invoice message in a pane."""
        invoice: Json = found.message["invoice"]
        if invoice["currency"] != STARS:
            self.card_sheet.ask(invoice, message_id=found.message_id)
            return
        await self.sheet.ask(
            invoice["title"], invoice["description"], invoice["total_amount"], message_id=found.message_id
        )

    def is_within(self, address: str) -> bool:
        """Tell whether an address leads to this bot or to one of its invoices, so that the page follows it."""
        return bool(_LINK.fullmatch(address) or self._start_link.fullmatch(address))

    async def open_address(self, address: str) -> None:
        """Follow an address: an invoice link to its sheet, a link to the bot to its start, others to a new tab."""
        if offered := _LINK.fullmatch(address):
            offer = await self.client.offer(offered["offer"])
            if offer.invoice.currency != STARS:
                self.card_sheet.ask(offer.invoice.shown(), offer=offer.id)
                return
            await self.sheet.ask(
                offer.invoice.title,
                offer.invoice.description,
                offer.invoice.total_amount,
                offer=offer.id,
                renews=bool(offer.invoice.subscription_period_seconds),
            )
        elif started := self._start_link.fullmatch(address):
            await self.client.start(self.speaker.user_id, started["parameter"] or "")
        else:
            ui.navigate.to(address, new_tab=True)

    def copied(self) -> None:
        """Show that a text is in the clipboard now."""
        self.toast("Copied to clipboard")

    def toast(self, text: str) -> None:
        """Show a short text over the pane for some seconds."""
        with self._cover:
            shown = box("toast").props("role=status")
            with shown:
                line(text)
                ui.timer(TOAST_SECONDS, shown.delete, once=True)

    def _show_answer(self, press: Press) -> None:
        if press.url:
            with self._cover:
                ui.timer(0, lambda: self.open_address(press.url), once=True)
        elif press.show_alert:
            self._alert(press.text)
        elif press.text:
            self.toast(press.text)

    def _alert(self, text: str) -> None:
        with self._cover, box("veil") as veil, box("alert").props("role=alertdialog"):
            line(text, "alert-text")
            close: Callable[[], None] = veil.delete
            button("OK", close, "text-button")
