"""A bar chart as numbers: where each bar is, how high, and what it says; the template draws it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 960.0, 120.0
_GAP = 0.18  # of a bar's share of the width


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar in the chart's own units; y grows downwards."""

    x: float
    y: float
    width: float
    height: float
    text: str
    """What it says to those who point at it or cannot see it."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars, and what the highest one stands for."""

    bars: tuple[Bar, ...]
    highest: str
    total: str


def bar_chart(
    values: Sequence[float], texts: Sequence[str], highest: Callable[[float], str], total: Callable[[float], str]
) -> Chart:
    """Bars that fill the chart's width; a value above zero is never invisible."""
    top = max(values, default=0)
    share = WIDTH / max(len(values), 1)
    bars = []
    for number, (value, text) in enumerate(zip(values, texts, strict=True)):
        height = 0.0 if value <= 0 else max(2.0, HEIGHT * value / top)
        bars.append(
            Bar(
                round((number + _GAP / 2) * share, 2), round(HEIGHT - height, 2),
                round(share * (1 - _GAP), 2), round(height, 2), text,
            )
        )  # fmt: skip
    return Chart(tuple(bars), highest(top), total(sum(values)))
