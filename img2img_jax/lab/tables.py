"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from img2img_jax.metrics import Interval


def markdown(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; numbers with three digits, intervals with both ends, None as a dash."""
    lines = [header, ["---"] * len(header), *([cell(value) for value in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(value: Any) -> str:
    """One cell's text."""
    if value is None:
        return "–"
    if isinstance(value, Interval):
        return f"{value.mean:.3g} ({value.low:.3g} to {value.high:.3g})"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
