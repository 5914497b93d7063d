"""What the patch costs: Python processes that it does not concern, Frigate's start, and Frigate's main process.

Frigate is the tests' stand-in, which does next to nothing itself, so what is seen is the patch.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Goal, Plan, Report, table
from benchmarks.stage import cpu_seconds

ROOT = Path(__file__).resolve().parents[1]
STANDIN = ROOT / "tests" / "patch" / "standin"
WATCH_SECONDS = 10.0


def run(plan: Plan) -> Report:
    """Medians of runs with and without, in turn."""
    count = 20 if plan.quick else 100
    starts = 3 if plan.quick else 10
    others = _interpreters(count)
    without, with_patch = _frigates(starts)
    made = table(
        f"What the patch adds: {count} interpreters, {starts} starts of a stand-in Frigate, medians",
        f"CPU of the main process: in the {WATCH_SECONDS:g} s after it was ready; the mirror is a process of its own.",
        "", "without", "with", "difference",
    )  # fmt: skip
    rows = {
        "any other Python process": (0.0, others, "ms", 1000),
        "Frigate, start to ready": (without[0], with_patch[0], "ms", 1000),
        "Frigate's main process, CPU": (without[1], with_patch[1], "ms", 1000),
    }
    for name, (a, b, unit, factor) in rows.items():
        made.add_row(name, f"{a * factor:.2f} {unit}", f"{b * factor:.2f} {unit}", f"{(b - a) * factor:+.2f} {unit}")
    goals = [Goal("ms that other Python processes pay", others * 1000, 1.0)]
    return Report(made, {name: {"without": row[0], "with": row[1]} for name, row in rows.items()}, goals)


def _interpreters(count: int) -> float:
    """Median seconds that Python itself says it spent in sitecustomize, in processes that are not Frigate."""
    python = f"{sys.base_prefix}/bin/python3"  # Frigate's is no virtual environment either
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "patch")}
    spent: list[float] = []
    for _ in range(count):
        command = [python, "-X", "importtime", "-c", "pass"]
        told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stderr
        line = next(line for line in told.splitlines() if line.endswith(" sitecustomize"))
        spent.append(int(line.split("|")[1]) / 1e6)
    return statistics.median(spent)


def _frigates(count: int) -> tuple[tuple[float, float], tuple[float, float]]:
    seen: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for number in range(2 * count):
        is_patched = bool(number % 2)
        seen[is_patched].append(_frigate(is_patched=is_patched, watch=number >= 2 * count - 2))
    return (_middle(seen[False]), _middle(seen[True]))


def _middle(runs: list[tuple[float, float]]) -> tuple[float, float]:
    """The median start, and the CPU of the one run that was watched."""
    return statistics.median(start for start, _ in runs), max(cpu for _, cpu in runs)


def _frigate(*, is_patched: bool, watch: bool) -> tuple[float, float]:
    """Seconds until it was ready, CPU seconds afterwards (0 when not watched)."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("S3_", "FRIGATE_"))},
            "S3_BUCKET": "nowhere", "S3_ACCESS_KEY": "benchmark", "S3_SECRET_KEY": "benchmark", "STANDIN": "forkserver",
            "S3_ENDPOINT_URL": "http://127.0.0.1:9", "FRIGATE_DB_PATH": f"{folder}/frigate.db", "FRIGATE_CLIPS_DIR": folder,
            **({"PYTHONPATH": str(ROOT / "patch")} if is_patched else {}),
        }  # fmt: skip
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "frigate"], cwd=STANDIN, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        try:
            next(line for line in process.stdout if "frigate: ready" in line)
            start = time.perf_counter() - began
            before = cpu_seconds(process.pid)
            time.sleep(WATCH_SECONDS if watch else 0)
            return start, cpu_seconds(process.pid) - before if watch else 0.0
        finally:
            process.terminate()
            process.communicate(timeout=30)
