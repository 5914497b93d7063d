"""A tenth of the answer matrix, the same each time: what every answer comes to, by the real sending code. `make answers` runs all."""

from __future__ import annotations

import random

import pytest

from answers.__main__ import slices
from answers.bench import disagreements
from answers.model import Bucket, Cell, Rights, What, expected
from answers.told import ANSWERS


@pytest.mark.parametrize("cells", slices(), ids=lambda cells: f"{cells[0].rights}, {cells[0].bucket}")
def test_every_answer_comes_to_what_the_model_says(cells: list[Cell]) -> None:
    """Uploaded, error class, counting, retries, sentences, requests, and the bucket in the end."""
    cells = random.Random(14).sample(cells, len(cells) // 10)  # noqa: S311  # chooses tests
    odd = list(disagreements(cells))
    print(f"answer matrix: {len(cells):,} cells, {len(odd):,} disagreements")
    assert not odd, "\n".join(odd)


def test_the_matrix_is_whole() -> None:
    """Each answer has a name of its own; nothing is tried twice; exceptions are few kinds, and each has a reason."""
    everything = [cell for group in slices() for cell in group]
    assert len({answer.name for answer in ANSWERS}) == len(ANSWERS) >= 70
    assert len(set(map(str, everything))) == len(everything) == len(ANSWERS) * len(Rights) * len(Bucket) * len(What) * 2
    exceptions = [want for cell in everything if (want := expected(cell)).exception]
    assert len(exceptions) < len(everything) / 5
    assert len({want.exception for want in exceptions}) <= 5
    assert all(len(want.exception) > 40 for want in exceptions)
