"""`make answers`: all cells, several at a time, and what they say."""

from __future__ import annotations

import logging
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby

from answers.bench import disagreements
from answers.model import Cell, cells, expected

AT_ONCE = 4


def told(group: list[Cell]) -> list[str]:
    """The disagreements of these cells; what the mirror logs of all that trouble is of no interest."""
    logging.disable()
    return list(disagreements(group))


def slices() -> list[list[Cell]]:
    """All cells, those of one key and one bucket together."""
    by_place = sorted(cells(), key=lambda cell: (cell.rights, cell.bucket))
    return [list(group) for _, group in groupby(by_place, key=lambda cell: (cell.rights, cell.bucket))]


def main() -> int:
    """Returns 1 when anything disagrees."""
    everything = slices()
    with ProcessPoolExecutor(AT_ONCE) as pool:
        odd = [line for lines in pool.map(told, everything) for line in lines]
    print("\n".join(odd))
    reasons = {want.exception for group in everything for cell in group if (want := expected(cell)).exception}
    count = sum(map(len, everything))
    print(f"answer matrix: {count:,} cells, {len(odd):,} disagreements, {len(reasons)} named exceptions")
    return 1 if odd else 0


if __name__ == "__main__":
    sys.exit(main())
