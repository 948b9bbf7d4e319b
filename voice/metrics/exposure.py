"""The figures of all workers in Prometheus' text format."""

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest, multiprocess

from voice.metrics import folder, series


def exposed() -> bytes:
    """In version 0.0.4 of the format; without a folder those of this process. Takes about a millisecond a worker."""
    with folder.read() as path:
        if path is None:
            return generate_latest(series.REGISTRY)
        registry = CollectorRegistry()
        collector: Any = multiprocess.MultiProcessCollector
        collector(registry, path)
        return generate_latest(registry)
