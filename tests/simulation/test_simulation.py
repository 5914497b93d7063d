"""The simulated world: seeds that failed once, a hundred days of others, and the proof that a fault would be seen."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from frigate_s3_mirror.logs import logger
from simulation.planted import PLANTS, find
from simulation.run import kept_seeds, plan, simulate
from simulation.world import Step

FULL = os.environ.get("FAULTS") == "full"
SHARES = 4
"""Tests that share the seeds, so that they can run side by side."""
SEEDS = 10_000 if FULL else 100
MOST_SECONDS = 48 * 3600.0 if FULL else 40.0
"""Of each share; a slow machine tries fewer seeds."""
FEWEST_SEEDS = 3
QUICKLY_FOUND = ("B1", "P3", "P8")


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    before = logger().level
    logger().setLevel(logging.CRITICAL + 1)
    yield
    logger().setLevel(before)


@pytest.mark.parametrize(("seed", "steps"), kept_seeds(), ids=[str(seed) for seed, _ in kept_seeds()])
def test_a_seed_that_failed_once(seed: int, steps: list[Step]) -> None:
    """It stays mended."""
    assert simulate(seed, steps).violations == []


@pytest.mark.parametrize("share", range(SHARES))
def test_seeds(share: int) -> None:
    """Each is a day in which anything may happen; `make simulate SEED=...` tells more of one that fails."""
    began, tried, failed = time.monotonic(), 0, {}
    for seed in range(1 + share, SEEDS + 1, SHARES):
        if time.monotonic() - began > MOST_SECONDS and tried >= FEWEST_SEEDS:
            break
        tried += 1
        if violations := simulate(seed, plan(seed, 24.0)).violations:
            failed[seed] = violations[0]
    print(f"{tried} simulated event-days in {time.monotonic() - began:.0f} s")
    assert failed == {}


def test_a_seed_is_the_same_history_again() -> None:
    """Also in another process, whose sets and dicts have another order."""
    command = [sys.executable, "-m", "simulation.run", "--seed", "3", "--hours", "12"]
    told = set()
    for order in ("1", "2"):
        environ = {**os.environ, "PYTHONHASHSEED": order, "PYTHONPATH": str(Path(__file__).parents[1])}
        run = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        told.add(run.stdout.partition("digest ")[2].split()[0])
    assert told == {simulate(3, plan(3, 12.0)).digest}


@pytest.mark.parametrize("name", QUICKLY_FOUND)
def test_a_planted_fault_is_found(name: str) -> None:
    """`make simulate-proof` plants them all."""
    assert find(dict(PLANTS)[name], range(1, 16)) is not None
