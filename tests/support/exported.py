"""The metrics that a desk exports, counted or not."""

from typing import Final

from prometheus_client.metrics import MetricWrapperBase

from bot.monitoring import call_meter
from bot.monitoring.call_meter import CallMeter
from bot.monitoring.gauges import DeskGauges
from bot.monitoring.health import Health
from db.engine import Database
from payments import metrics
from payments.ledger import progress
from tests.support.clock import FakeClock

SUFFIXES: Final = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
OF_ONE_SAMPLE: Final = {"le"}


async def exported_metrics(database: Database, clock: FakeClock) -> dict[str, set[str]]:
    """Return the labels of every sample, by its name."""
    found: dict[str, set[str]] = {}
    for metric in (*vars(metrics).values(), *vars(call_meter).values()):
        if isinstance(metric, MetricWrapperBase):
            for suffix in SUFFIXES[str(metric._type)]:
                found[metric._name + suffix] = {*metric._labelnames, *(OF_ONE_SAMPLE if suffix == "_bucket" else ())}
    meter = CallMeter()
    meter.polled_at = 0.0
    async with database.transaction() as session:
        (await progress.lock(session)).compared_at = clock()
    gauges = DeskGauges(database, meter, Health(clock), clock)
    await gauges.read()
    for family in gauges.collect():
        for sample in family.samples:
            found[sample.name] = set(sample.labels)
    return found
