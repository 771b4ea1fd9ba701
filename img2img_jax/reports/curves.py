"""A metric's mean against strength, with its interval, for each of the settings of a run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from img2img_jax.metrics import Interval, bootstrap_mean, spearman
from img2img_jax.reports.run_files import Row, metric_names, number
from img2img_jax.sweep import Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """A mean over images and seeds at one strength.

    Attributes:
      strength: in 0..1.
      log_snr: where the sampler started, log(alpha^2 / sigma^2); infinite at the ends, None where rows do not say.
      interval: mean and bootstrap interval of the finite values; None if there is none.
      finite, count: values that went into the mean, and all values. A PSNR of equal pictures is infinite.
    """

    strength: float
    log_snr: float | None
    interval: Interval | None
    finite: int
    count: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class StrengthCurve:
    """One metric under one of the run's settings; points in order of strength."""

    metric: str
    settings: str
    points: Sequence[Point]

    @property
    def rank_correlation(self) -> float | None:
        """Spearman's, of the mean with strength; None where fewer than two means differ."""
        pairs = [(point.strength, point.interval.mean) for point in self.points if point.interval]
        if len(pairs) < 2 or len({mean for _, mean in pairs}) < 2:
            return None
        return spearman(*zip(*pairs, strict=True))


def strength_curves(rows: Sequence[Row]) -> list[StrengthCurve]:
    """Of every metric and settings in the rows, 95 % intervals over images and seeds (``bootstrap_mean``).

    Inputs of different groups have curves of their own, named first.
    """
    varying = varying_settings(rows)
    several = len({row.get("group") for row in rows}) > 1
    groups: dict[str, list[Row]] = {}
    for row in rows:
        kinds = [str(row.get("group") or "no group")] if several else []
        groups.setdefault(", ".join(filter(None, [*kinds, settings_label(row, varying)])), []).append(row)
    return [
        StrengthCurve(metric=metric, settings=label, points=points)
        for metric in metric_names(rows)
        for label, members in groups.items()
        if (points := _points(metric, members))
    ]


def reference_mean(metric: str, rows: Sequence[Row]) -> Interval | None:
    """A reference line's height: the mean over its rows, with its interval."""
    return _mean(metric, rows)[0]


def varying_settings(rows: Sequence[Row]) -> list[str]:
    """The fewest fields of ``Settings`` that tell apart rows of one input, prompt, seed and strength.

    What follows from the others, such as steps that a plan chose by strength and mode, or the negative prompt of an
    input, is not among them.
    """
    fields = [field.name for field in dataclasses.fields(Settings)]
    chosen: list[str] = []
    for name in sorted(fields, key="num_inference_steps".__eq__):  # steps last: they follow where anything does
        found: dict[Any, Any] = {}
        known = ("image", "image_sha256", "prompt", "seed", "strength", *chosen)
        cells = [(tuple(repr(row.get(key)) for key in known), repr(row.get(name))) for row in rows]
        if any(found.setdefault(cell, value) != value for cell, value in cells):
            chosen.append(name)
    return chosen


def settings_label(row: Row, varying: Sequence[str]) -> str:
    """What tells a row's settings from the others' of its run, in words; empty if nothing does."""
    return ", ".join(_setting(name, row.get(name)) for name in varying)


def _setting(name: str, value: Any) -> str:
    if name == "scheduler":
        return value or "checkpoint's sampler"
    name = {"num_inference_steps": "steps", "guidance_scale": "guidance"}.get(name, name.replace("_", " "))
    if isinstance(value, str):
        return value
    return f"{name} {'none' if value is None else f'{value:g}'}"


def _points(metric: str, rows: Sequence[Row]) -> list[Point]:
    points = []
    for strength in sorted({row["strength"] for row in rows}):
        members = [row for row in rows if row["strength"] == strength and metric in (row.get("metrics") or {})]
        if members:
            interval, finite = _mean(metric, members)
            points.append(
                Point(
                    strength=strength,
                    log_snr=log_snr(members[0]),
                    interval=interval,
                    finite=finite,
                    count=len(members),
                )
            )
    return points


def log_snr(row: Row) -> float | None:
    """Where the row started; None if it does not say."""
    value = number((row.get("start") or {}).get("log_snr"))
    return None if math.isnan(value) else value


def _mean(metric: str, rows: Sequence[Row]) -> tuple[Interval | None, int]:
    """Mean of the finite values, and their number."""
    return finite_mean([number((row.get("metrics") or {}).get(metric)) for row in rows], rows)


def finite_mean(values: Sequence[float], rows: Sequence[Row]) -> tuple[Interval | None, int]:
    """Mean and 95 % interval over pictures and seeds of the finite among the values of rows, and their number."""
    finite = [(value, row) for value, row in zip(values, rows, strict=True) if math.isfinite(value)]
    if not finite:
        return None, 0
    pictures = [tuple(row.get(name) for name in ("image", "image_sha256", "group")) for _, row in finite]
    seeds = [row.get("seed") for _, row in finite]
    return bootstrap_mean([value for value, _ in finite], pictures, seeds), len(finite)
