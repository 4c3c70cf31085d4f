"""`python -m sandbox`: run a sandbox, a Telegram with Stars on this machine."""

import asyncio
import ipaddress
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from sandbox.server import running_sandbox
from sandbox.settings import PROVIDER_TOKEN, STRIPE_KEY, TOKEN, Settings
from sandbox.state import StateError

PAGE_PORTS_TRIED = 20
NO_PAGE = -1


def main(  # noqa: PLR0913 - the command's options
    *,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8081,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    expose_to_network: Annotated[
        bool,
        typer.Option(
            "--expose-to-network",
            help="Allow an address that other machines reach. WHOEVER REACHES IT CONTROLS THE SANDBOX: "
            "there is no password on the control API.",
        ),
    ] = False,
    token: Annotated[str, typer.Option(help="The bot's token.")] = TOKEN,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same identifiers.")] = None,
    charge_id_length: Annotated[
        int, typer.Option(help="Characters of a charge id; over 128 finds short columns.")
    ] = 110,
    latency_ms: Annotated[int, typer.Option(min=0, help="Milliseconds that every Bot API call takes longer.")] = 0,
    stripe_key: Annotated[
        str,
        typer.Option(
            help=f"The secret key of the Stripe account where cards are charged (provider token {PROVIDER_TOKEN}). It "
            "is the sandbox's own, with Stripe's API at the address of the Bot API."
        ),
    ] = STRIPE_KEY,
    stripe_url: Annotated[
        str | None,
        typer.Option(help="Another Stripe to charge cards at, such as localstripe's http://127.0.0.1:8420."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="File that keeps everything from one run to the next; without it, it ends with the run."),
    ] = None,
    page_port: Annotated[
        int,
        typer.Option(min=NO_PAGE, help="Port of the chat page, or the next free one; 0 takes any, -1 leaves it out."),
    ] = 8080,
) -> None:
    """Run a sandbox: a Bot API server with Stars in it, for any bot, until Ctrl-C."""
    if not _is_loopback(host) and not expose_to_network:
        raise typer.BadParameter(
            f"{host} can be reached from other machines, and whoever reaches the sandbox controls it. "
            "If you want that, add --expose-to-network.",
            param_hint="--host",
        )
    try:
        settings = Settings(
            token=token,
            seed=seed,
            charge_id_length=charge_id_length,
            latency_ms=latency_ms,
            stripe_key=stripe_key,
            stripe_url=stripe_url,
        )
    except ValueError as refusal:
        raise typer.BadParameter(str(refusal)) from refusal
    try:
        asyncio.run(_serve(settings, host, port, state, page_port))
    except StateError as refusal:
        raise typer.BadParameter(str(refusal), param_hint="--state") from refusal
    except OSError as refusal:
        raise typer.BadParameter(
            f"{refusal.strerror}; name another port", param_hint="--port or --page-port"
        ) from refusal


async def _serve(settings: Settings, host: str, port: int, state: Path | None, page_port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running_sandbox(settings, host=host, port=port, state_file=state) as server:
        typer.echo(f"Bot API     {server.url}/bot{server.token}/getMe")
        typer.echo(f"Control API {server.url}/control/about")
        typer.echo(f"Stripe API  {settings.stripe_url or server.url}/v1, with the key {settings.stripe_key}")
        async with _page(server.url, host, page_port):
            await stop.wait()


@asynccontextmanager
async def _page(sandbox_url: str, host: str, port: int) -> AsyncIterator[None]:
    """Serve the chat page while the block runs; without the optional NiceGUI, print how to install it."""
    if port == NO_PAGE:
        yield
    elif find_spec("nicegui") is None:
        typer.echo("Chat page   needs NiceGUI: pip install 'starledger-sandbox[page]'")
        yield
    else:
        from sandbox.page.serving import listening_socket, serving_page  # noqa: PLC0415 - takes a second, and NiceGUI

        async with serving_page(sandbox_url, listening_socket(host, port, tries=PAGE_PORTS_TRIED)) as url:
            typer.echo(f"Chat page   {url}")
            yield


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def run() -> None:
    """Run the command `starledger-sandbox`."""
    typer.run(main)


if __name__ == "__main__":
    run()
