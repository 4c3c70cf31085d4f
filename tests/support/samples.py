"""Samples of the process's counters: a test looks at the increase, because the counters are shared."""

from collections.abc import Iterator
from contextlib import contextmanager

import prometheus_client


class Added(dict[str, float]):
    """The increase within the block, by `name{label=value,...}`, once it has ended."""


@contextmanager
def added() -> Iterator[Added]:
    """Collect what the block adds to the counters and histograms of the desk."""
    before = _samples()
    grown = Added()
    yield grown
    # Sums of floats: what was added is known to a part of a microsecond.
    grown.update({name: round(value - before.get(name, 0.0), 6) for name, value in _samples().items()})
    for name in [name for name, value in grown.items() if value == 0.0]:
        del grown[name]


def _samples() -> dict[str, float]:
    return {
        f"{sample.name}{{{','.join(f'{label}={value}' for label, value in sorted(sample.labels.items()))}}}": (
            sample.value
        )
        for metric in prometheus_client.REGISTRY.collect()
        for sample in metric.samples
        if sample.name.startswith("starledger_") and sample.name.endswith(("_total", "_count", "_sum"))
    }
