"""What Prometheus reads: counts of this run, and the ledger's numbers at the moment of the scrape."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from frigate_s3_mirror import __version__
from frigate_s3_mirror.entries import Outcome
from frigate_s3_mirror.health import Health, Vital
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.logs import dropped_lines
from frigate_s3_mirror.status import Status

_NAMESPACE = "frigate_s3_mirror"
_RESULTS = {State.UPLOADED: "uploaded", State.FAILED: "failed", State.EXPIRED: "expired", State.PENDING: "retried"}
_DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LAGS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600, 86400)


class Metrics:
    """Counters that outcomes move, in a registry of their own."""

    def __init__(self, read: Callable[[], Status | None], vital: Callable[[], Vital] | None = None) -> None:
        self.registry = CollectorRegistry()
        common = {"namespace": _NAMESPACE, "registry": self.registry}
        self._uploads = Counter("uploads", "What became of attempts to upload.", ["camera", "result"], **common)  # type: ignore[arg-type]
        self._bytes = Counter("upload_bytes", "Bytes that S3 has taken.", ["camera"], **common)  # type: ignore[arg-type]
        self._durations = Histogram(
            "upload_duration_seconds", "Time that S3 took for an upload.", buckets=_DURATIONS, **common  # type: ignore[arg-type]
        )  # fmt: skip
        self._lags = Histogram(
            "event_lag_seconds", "Time from an event's end to S3's acknowledgement.", buckets=_LAGS, **common  # type: ignore[arg-type]
        )  # fmt: skip
        self._segments = Counter(
            "clip_segments", "What became of attempts to upload segments.", ["camera", "result"], **common  # type: ignore[arg-type]
        )  # fmt: skip
        self._segment_bytes = Counter("clip_bytes", "Bytes of segments.", ["camera"], **common)  # type: ignore[arg-type]
        self._live = Counter("live_pictures", "Pictures of running events.", ["camera", "result"], **common)  # type: ignore[arg-type]
        told = Counter("log_lines", "Warnings and errors of this run, shown in the log or not.", ["level"], **common)  # type: ignore[arg-type]
        self.log_counter: logging.Handler = _LogCounter(told)
        """To be given to a logger."""
        self.registry.register(_LedgerCollector(read))
        self.registry.register(_RunCollector(vital))
        ProcessCollector(registry=self.registry)

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        """Count outcomes that the ledger holds."""
        for outcome in outcomes:
            if outcome.entry.kind is not Kind.CLIP:
                self._count(outcome)
            elif outcome.entry.part:  # and no playlist
                self._count_segment(outcome)

    def _count(self, outcome: Outcome) -> None:
        camera = outcome.entry.event.camera
        if outcome.state in _RESULTS:
            self._uploads.labels(camera, _RESULTS[outcome.state]).inc()
        if outcome.state is State.UPLOADED and outcome.uploaded_at is not None:
            self._bytes.labels(camera).inc(outcome.size_bytes or 0)
            self._durations.observe(outcome.duration_seconds)
            self._lags.observe(max(0.0, outcome.uploaded_at - outcome.entry.happened_at))

    def _count_segment(self, outcome: Outcome) -> None:
        camera = outcome.entry.event.camera
        if outcome.state in _RESULTS:
            self._segments.labels(camera, _RESULTS[outcome.state]).inc()
        if outcome.state is State.UPLOADED:
            self._segment_bytes.labels(camera).inc(outcome.size_bytes or 0)

    def live_picture(self, camera: str, result: str) -> None:
        """Count a picture of a running event: "sent" or "failed"."""
        self._live.labels(camera, result).inc()

    def text(self) -> bytes:
        """The exposition format, version 0.0.4."""
        return generate_latest(self.registry)


class _LogCounter(logging.Handler):
    """Counts what was told, so that trouble which is over in a moment shows, too."""

    def __init__(self, counter: Counter) -> None:
        super().__init__(logging.WARNING)
        self._by_level = {level: counter.labels(level) for level in ("warning", "error")}

    def emit(self, record: logging.LogRecord) -> None:
        """Count one."""
        self._by_level["error" if record.levelno >= logging.ERROR else "warning"].inc()


class _LedgerCollector(Collector):
    """Gauges that are read when somebody asks."""

    def __init__(self, read: Callable[[], Status | None]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Nothing is read at registration."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The ledger's numbers; without a ledger only the build."""
        build = InfoMetricFamily(f"{_NAMESPACE}_build", "Version of the mirror.")
        build.add_metric([], {"version": __version__})
        yield build
        status = self._read()
        if status is None:
            return
        yield _gauge("backlog", "Objects that wait for upload, without clips.", status.backlog)
        yield _gauge("clip_backlog", "Files of clips that wait for upload.", (status.clips or {}).get(State.PENDING))
        yield _gauge("lag_seconds", "Age of the oldest object that waits.", status.lag_seconds)
        yield _labelled("objects", "Pictures in the ledger by state.", "state", status.counts)
        health = {name.value: float(name.value == status.health) for name in Health}
        yield _labelled("health", "1 for the health of now, 0 for the others.", "state", health)
        windows = {window.replace(" ", ""): proof.missing for window, proof in (status.proof or {}).items()}
        yield _labelled("missing_snapshots", "Snapshots that Frigate has and the bucket has not.", "window", windows)
        yield _gauge("last_upload_timestamp_seconds", "When S3 took the last upload.", status.last_upload_at)
        yield _gauge("s3_answered_timestamp_seconds", "When S3 last took anything.", status.s3_answered_at)


class _RunCollector(Collector):
    """Counts of this run that others keep."""

    def __init__(self, vital: Callable[[], Vital] | None) -> None:
        self._vital = vital

    def describe(self) -> Iterable[Metric]:
        """Nothing is read at registration."""
        return []

    def collect(self) -> Iterable[Metric]:
        """How often loops were started anew, and how many lines of the log nobody read; nothing while there is none."""
        restarts = CounterMetricFamily(
            f"{_NAMESPACE}_restarts", "Loops of the service that failed and were started anew.", labels=["loop"]
        )
        for loop, count in (self._vital().restarts if self._vital is not None else {}).items():
            restarts.add_metric([loop], count)
        yield restarts
        dropped = CounterMetricFamily(f"{_NAMESPACE}_log_lines_dropped", "Log lines that nobody read in time.")
        if count := dropped_lines():
            dropped.add_metric([], count)
        yield dropped


def _gauge(name: str, text: str, value: float | None) -> Metric:
    return GaugeMetricFamily(f"{_NAMESPACE}_{name}", text, value=value or 0)


def _labelled(name: str, text: str, label: str, values: dict[str, int] | dict[str, float]) -> Metric:
    family = GaugeMetricFamily(f"{_NAMESPACE}_{name}", text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
