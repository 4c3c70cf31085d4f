"""The HTTP server of `/healthz` and `/metrics`, open to this machine alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import prometheus_client
from aiohttp import web
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.aiohttp import make_aiohttp_handler
from prometheus_client.registry import Collector

from bot.monitoring.gauges import DeskGauges
from bot.monitoring.health import WELL, Health, HealthState
from bot.settings import SettingsError

HOST: Final = "127.0.0.1"


class _OfTheProcess(Collector):
    """The metrics of the whole process, with memory and processor time."""

    def collect(self) -> list[Metric]:
        return list(prometheus_client.REGISTRY.collect())


@asynccontextmanager
async def monitoring_server(port: int, health: Health, gauges: DeskGauges) -> AsyncIterator[None]:
    """Serve health and metrics over HTTP beside the block. Raises SettingsError when the port is taken."""
    # prometheus-client would add a second series to each counter, with the time of its making.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # the library has no type for it
    # Each desk has a registry, so that the gauges of two in one process do not collide.
    registry = CollectorRegistry()
    registry.register(_OfTheProcess())
    registry.register(gauges)
    metrics = make_aiohttp_handler(registry)

    async def on_metrics(request: web.Request) -> web.StreamResponse:
        await gauges.read()
        return await metrics(request)

    async def on_health(_: web.Request) -> web.Response:
        report = health.report()
        return web.json_response(report, status=200 if HealthState(report["state"]) in WELL else 503)

    application = web.Application()
    application.add_routes([web.get("/healthz", on_health), web.get("/metrics", on_metrics)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HOST, port).start()
        except OSError as error:
            raise SettingsError(
                f"HTTP_PORT is {port}, and another program has that port: put a free one into .env"
            ) from error
        yield
    finally:
        await runner.cleanup()
