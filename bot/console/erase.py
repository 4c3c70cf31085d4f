"""The command `erase`: it erases a person's name and texts on request; the payments stay."""

from rich.console import Console

from bot.console.database import open_database
from bot.settings import Settings
from db.address import SqliteAddress, parse_database_url
from db.clock import utc_now
from db.write_ahead_log import empty_write_ahead_log
from payments.payment_desk import PaymentDesk


async def erase_person(settings: Settings, telegram_id: int, console: Console) -> bool:
    """Erase a person's name and texts, and print what goes and what stays; False: nobody has this id."""
    async with open_database(settings) as database:
        erased = await PaymentDesk(database, utc_now).erase(telegram_id)
    if erased is None:
        console.print(f"Nobody is known here as {telegram_id}.")
        return False
    address = parse_database_url(settings.database_url.get_secret_value())
    if isinstance(address, SqliteAddress) and not empty_write_ahead_log(address.path):
        console.print("The database is being read this moment: erase again, so that its log is emptied as well.")
    console.print(
        f"{telegram_id} is erased: the name, the language, {erased.reasons} reasons of refunds and"
        f" {erased.grant_reasons} of grants, {erased.notices} messages, {erased.updates} updates in quarantine."
    )
    console.print(
        f"The Telegram id, {erased.kept_events} payments and refunds, which have to add up, and the access stay."
        " Older backups and logs hold the rest for as long as you keep them: after one is restored, erase again."
    )
    return True
