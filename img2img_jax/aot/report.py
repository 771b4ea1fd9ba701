"""Figures as a table for people and as JSON for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from img2img_jax.aot.figures import Figures

COLUMNS = (
    "stage",
    "samples/chip",
    "weights and inputs, GiB",
    "temporaries, GiB",
    "peak HBM, GiB",
    "fits",
    "TFLOP",
    "optimal_seconds, ms",
    "cycles / clock, ms",
    "model-FLOP use, %",
    "kernels",
    "collectives: number, bytes",
)


def as_markdown(figures: Sequence[Figures]) -> str:
    """A table, a row for each program; memory and FLOPs of one chip."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(_row, figures)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def as_json(figures: Sequence[Figures]) -> list[dict[str, Any]]:
    """The same, whole: every figure, and those that follow from them."""
    return [
        dataclasses.asdict(f) | {"seconds": f.seconds, "model_flop_use": f.model_flop_use, "hbm": f.chip.memory}
        for f in figures
    ]


def _row(figures: Figures) -> tuple[str, ...]:
    memory = (figures.arguments, figures.temporaries, figures.peak)
    # What a kernel costs beyond the cycles is known from below only.
    more = "at least " if figures.kernels else ""
    less = "at most " if figures.kernels else ""
    return (
        figures.stage,
        str(figures.samples),
        *(_number(value, 2**30, 2) for value in memory),
        "yes" if figures.fits else f"no: {figures.refusal}",
        _number(figures.flops, 1e12, 2),
        _number(figures.optimal_seconds, 1e-3, 1),
        more + _number(figures.seconds, 1e-3, 1),
        less + _number(figures.model_flop_use, 0.01, 0),
        str(figures.kernels),
        "; ".join(f"{kind}: {n}, {size}" for kind, (n, size) in figures.collectives.items()) or "none",
    )


def _number(value: float | None, unit: float, digits: int) -> str:
    return "" if value is None else f"{value / unit:.{digits}f}"
