"""Runs seeds: `make simulate SEED=1 HOURS=24`. A seed that fails is shrunk, and told with its last steps."""

from __future__ import annotations

import argparse
import logging
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from frigate_s3_mirror.logs import logger
from simulation import oracles
from simulation.virtual_time import HangError
from simulation.world import Step, World

SEEDS = Path(__file__).with_name("seeds.txt")
"""Every seed that ever failed."""
STEPS_PER_DAY = 24
_REST_EVERY = 12
REST = "rest"
_ALWAYS = ("events", "time passes")
_QUIET_BEGINNING = (1, 2, 3)
_LAST = 100
_LONGEST_STEP = 10 * 86_400.0


@dataclass
class Result:
    """What a seed came to."""

    seed: int
    digest: str
    violations: list[str]
    history: list[str]
    counts: Counter[str] = field(default_factory=Counter)


def plan(seed: int, hours: float) -> list[Step]:
    """Return what happens: steps by their weight, and now and then a rest, in which all has to come right.

    Each seed leaves out some kinds of trouble and has more of others, so that they meet in all combinations.
    """
    rng = random.Random(seed)
    names = list(World.ACTIONS)
    weights = [
        weight * (rng.choice((0, 0, 1, 5)) if name not in _ALWAYS else 1) for name, weight in World.ACTIONS.items()
    ]
    count = max(1, round(STEPS_PER_DAY * hours / 24))
    steps = [Step(rng.choices(names, weights)[0], rng.getrandbits(48)) for _ in range(count)]
    rests = range(_REST_EVERY, count, _REST_EVERY)
    for place in reversed(rests):
        steps.insert(place, Step(REST, 0))
    return [*steps, Step(REST, 0)]


def simulate(seed: int, steps: Sequence[Step]) -> Result:
    """Play these steps in the world of this seed."""
    with World(seed) as world:
        try:
            world.run(_play(world, steps))
        except HangError as error:
            world.violate(f"hangs: {error}")
        return Result(seed, world.digest(), list(world.violations), list(world.history), world.counts)


async def _play(world: World, steps: Iterable[Step]) -> None:
    began, seconds_per_step = world.clock.monotonic(), 86_400.0 / STEPS_PER_DAY
    for number in _QUIET_BEGINNING:  # so that the mirror knows what the folder looks like when all is well
        await world.act(Step("events", number))
    for number, step in enumerate(steps, 1):
        world.clock.limit = world.clock.monotonic() + _LONGEST_STEP
        if step.name == REST:
            await oracles.at_rest(world)
        else:
            await world.act(step)
            oracles.after_step(world)
            if step.number % 4 == 0:  # the others follow closely upon each other
                await world.live(max(0.0, began + number * seconds_per_step - world.clock.monotonic()), longest=1200.0)
                oracles.after_step(world)
        if world.violations:
            return


def shrink(seed: int, steps: list[Step]) -> list[Step]:
    """Leave out what is not needed to fail, by halves, then one by one; the kind of failure stays."""
    kind, size = _kind(simulate(seed, steps).violations[0]), max(1, len(steps) // 2)
    while True:
        place = 0
        while place < len(steps):
            fewer = steps[:place] + steps[place + size :]
            if fewer and kind in {_kind(what) for what in simulate(seed, fewer).violations}:
                steps = fewer
            else:
                place += size
        if size == 1:
            return steps
        size //= 2


def _kind(violation: str) -> str:
    return re.sub(r"\S*\d\S*", "", violation)


def tell(result: Result, steps: list[Step], hours: float) -> None:
    """Print what failed, how little it takes, and the last that happened."""
    print(f"seed {result.seed} fails: {result.violations[0]}")
    needed = shrink(result.seed, steps)
    again = simulate(result.seed, needed)
    print(f"it takes {len(needed)} of {len(steps)} steps: {', '.join(step.name for step in needed)}")
    print("\n".join(again.history[-_LAST:]))
    print(f"for seeds.txt: {result.seed} {'; '.join(f'{step.name}={step.number}' for step in needed)}")
    print(f"again: make simulate SEED={result.seed} HOURS={hours:g}")


def quiet() -> None:
    """The mirror's log is of no interest here, and would cost a third of the time."""
    logger().handlers[:] = [logging.NullHandler()]
    logger().propagate = False
    logger().setLevel(logging.CRITICAL + 1)


def kept_seeds() -> list[tuple[int, list[Step]]]:
    """Return the worlds that failed once, with the steps that it took: those stay the same when `plan` changes."""
    kept = []
    for line in SEEDS.read_text().splitlines():
        seed, _, steps = line.partition("#")[0].strip().partition(" ")
        if seed:
            pairs = (step.strip().rsplit("=", 1) for step in steps.split(";"))
            kept.append((int(seed), [Step(name, int(number)) for name, number in pairs]))
    return kept


def main() -> int:
    """Run one seed, or some; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="so many, from --seed on")
    parser.add_argument("--hours", type=float, default=24.0, help="of each")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="print the whole history")
    options = parser.parse_args()
    quiet()
    counts: Counter[str] = Counter()
    began, failed = time.monotonic(), 0
    for seed in range(options.seed, options.seed + options.seeds):
        steps = plan(seed, options.hours)
        result = simulate(seed, steps)
        counts.update(result.counts)
        if options.verbose:
            print("\n".join(result.history))
        if result.violations:
            failed += 1
            if options.no_shrink:
                print(f"seed {seed} fails: {result.violations[0]}", flush=True)
            else:
                tell(result, steps, options.hours)
        elif options.seeds == 1:
            print(f"seed {seed}: all is well, digest {result.digest}")
    days = options.seeds * options.hours / 24
    print(
        f"{options.seeds} seeds, {days:g} event-days, {counts['events']} events, {counts['stored']} objects stored, "
        f"{counts['crashes']} crashes, {failed} seeds failed, {time.monotonic() - began:.0f} s"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
