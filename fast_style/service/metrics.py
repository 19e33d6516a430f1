"""The metrics of the service, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

__all__ = ["STAGES", "ServiceMetrics", "resident_bytes"]

STAGES = ("wait", "decode", "network", "encode")
"""The stages of a request for a picture: waiting for a slot, decoding, network, encoding."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class ServiceMetrics:
    """The metrics of one app, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # Memory, CPU time and open files of this process; on Linux only.
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "fast_style_requests",
            "Requests that were answered.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "fast_style_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._stage_seconds = Histogram(
            "fast_style_stage_seconds",
            "Seconds that a picture spent in each stage.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._stages = {stage: self._stage_seconds.labels(stage) for stage in STAGES}
        self.pictures = Counter(
            "fast_style_pictures",
            "Pictures that were stylized.",
            ["style"],
            registry=self.registry,
        )
        self.megapixels = Counter(
            "fast_style_megapixels", "Millions of pixels stylized.", registry=self.registry
        )

    def observe(self, stage: str, seconds: float) -> None:
        """Record how long a picture spent in a stage."""
        self._stages[stage].observe(seconds)

    @contextmanager
    def timed(self, stage: str, times: dict[str, float]) -> Iterator[None]:
        """Measure a stage, for the metrics and for response headers, unless it fails."""
        start = time.perf_counter()
        yield
        times[stage] = time.perf_counter() - start
        self.observe(stage, times[stage])

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is computed when the metrics are read."""
        Gauge(name, text, registry=self.registry).set_function(value)


def resident_bytes(processes: Iterable[int]) -> int:
    """Return the resident memory of processes, in bytes; 0 without /proc."""
    pages = 0
    for process in processes:
        try:
            pages += int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, ValueError, IndexError):
            continue
    return pages * _page_size()


def _page_size() -> int:
    try:
        import resource
    except ImportError:  # Windows, which has no /proc either
        return 4096
    return resource.getpagesize()
