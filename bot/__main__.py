"""The operator's command line: `python -m bot [COMMAND]`.

Only the commands that call Telegram import aiogram, because the import takes seconds.
"""

import asyncio
from typing import Annotated

import typer

from bot import __version__
from bot.console.command_line.exit_status import errors_in_words
from bot.console.command_line.figures_commands import export, report
from bot.console.command_line.people_commands import erase, grant, history, revoke
from bot.console.command_line.settings_and_log import load_settings
from bot.console.command_line.upkeep_commands import backup, doctor, migrate, rebuild, reconcile
from bot.console.command_line.waiting_commands import pending, refund, retry
from db.timings import PRODUCTION, Timings

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


def _print_version(is_asked: bool) -> None:  # noqa: FBT001 - typer's signature
    if is_asked:
        typer.echo(f"starledger {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001, FBT002 - typer's signature; its callback ends the program
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Run the payment desk of a Telegram bot, or manage it from the outside.

    Without a command the desk runs. The settings come from the environment and from the file .env, which .env.example
    explains. Exit status 78: a setting, the catalog or the database is wrong, and one line names the mend.
    """
    if context.invoked_subcommand is None:
        run(context)


@app.command()
def run(context: typer.Context) -> None:
    """Run the desk: sell, record, grant, refund, until a signal stops it.

    The desk brings the database up to date first. On SIGTERM or Ctrl-C it finishes its work, within 10 seconds.
    """
    with errors_in_words():
        settings = load_settings()
        from bot.desk.app import run_desk  # noqa: PLC0415 - imports aiogram

        # A program in Python may pass its own, as the tests do.
        timings = context.obj if isinstance(context.obj, Timings) else PRODUCTION
        asyncio.run(run_desk(settings, timings))


# In the order of `--help`.
for command in (
    *(migrate, pending, retry, refund, grant, revoke, history),
    *(export, report, backup, erase, reconcile, rebuild, doctor),
):
    app.command()(command)


if __name__ == "__main__":
    app(prog_name="python -m bot")
