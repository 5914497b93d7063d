"""What Prometheus is told that no bucket is needed for."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.web.metrics import Metrics


def test_warnings_and_errors_of_the_log_are_counted() -> None:
    """Each once; what is only information is not."""
    metrics = Metrics(lambda: None)
    logger().addHandler(metrics.log_counter)
    try:
        logger().info("all is well")
        logger().warning("not quite")
        logger().error("not at all")
        logger().critical("not even foreseen")
    finally:
        logger().removeHandler(metrics.log_counter)
    families = {family.name: family for family in text_string_to_metric_families(metrics.text().decode())}
    samples = families["frigate_s3_mirror_log_lines"].samples
    counts = {s.labels["level"]: s.value for s in samples if s.name.endswith("_total")}
    assert counts == {"warning": 1, "error": 2}
