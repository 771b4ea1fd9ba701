"""How a metric goes with strength, as far as it has been seen."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable

import numpy as np
from scipy.interpolate import PchipInterpolator

FACTOR = 4
"""Values that change by more than this factor between two points are interpolated by their logarithms."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """A metric's values over strength, for one picture, prompt and seed.

    Attributes:
      strengths: rising. The first is 0 and stands for the limit of small strengths, which is the VAE's round trip:
        strength 0 itself gives the input back, a value that no strength above it need come near.
      values: one per strength; infinite where the metric is (the PSNR of equal pictures).
    """

    strengths: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self):
        for strength, value in zip(self.strengths, self.values, strict=True):
            if math.isnan(value):
                raise ValueError(f"the metric is NaN at strength {strength:g}; choose one that is defined there")

    def extended(self, points: Iterable[tuple[float, float]]) -> Curve:
        """With more (strength, value) pairs; of equal strengths the earlier one stays."""
        strengths, values = zip(*sorted((dict(points) | dict(self.pairs)).items()), strict=True)
        return Curve(strengths=strengths, values=values)

    @property
    def pairs(self) -> list[tuple[float, float]]:
        return list(zip(self.strengths, self.values, strict=True))

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest value seen."""
        return min(self.values), max(self.values)

    @property
    def span(self) -> float:
        """Width of the range of the finite values."""
        finite = [value for value in self.values if math.isfinite(value)]
        return max(finite) - min(finite) if finite else 0.0

    def crossing(self, value: float) -> int | None:
        """The first place i with ``value`` between points i and i + 1: the least strength that can reach it."""
        for place, (left, right) in enumerate(itertools.pairwise(self.values)):
            if min(left, right) <= value <= max(left, right):
                return place
        return None

    def guess(self, value: float, place: int) -> float:
        """Where between points ``place`` and ``place + 1``, which ``value`` lies between, the curve may take it.

        By piecewise cubics that keep monotone data monotone (Fritsch & Carlson, SIAM J. Numer. Anal. 17(2), 1980), of
        the values' logarithms where they change by a factor, as squared errors do. Half-way beside an infinite value.
        """
        (low, before), (high, after) = self.pairs[place : place + 2]
        least, most = min(before, after), max(before, after)
        if not math.isfinite(most - least):
            return (low + high) / 2
        points = np.asarray([pair for pair in self.pairs if math.isfinite(pair[1])]).T
        if 0 < FACTOR * least < most:
            points = points[:, points[1] > 0]
            points[1], value = np.log(points[1]), math.log(value)
        roots = PchipInterpolator(*points).solve(value, extrapolate=False)
        # A flat piece has no single root, and an end is a strength that was tried already.
        roots = roots[(roots > low) & (roots < high)]
        return float(roots[0]) if len(roots) else (low + high) / 2

    def bend(self) -> np.ndarray:
        """How far each point lies beyond the straight line from the first point to the farthest value.

        With the values scaled so that the first is 0 and the farthest from it is 1, this is value - strength; the knee
        is where it is largest (Satopaa et al., "Finding a kneedle in a haystack", ICDCSW 2011). Zeros for a curve
        that never changes.
        """
        change = np.asarray(self.values) - self.values[0]
        farthest = change[np.argmax(np.abs(change))]
        if farthest == 0 or not np.isfinite(change).all():
            return np.zeros(len(change))
        return change / farthest - np.asarray(self.strengths)

    def non_monotone(self) -> list[tuple[float, float]]:
        """Stretches of strength in which the metric goes against the way it goes from the first to the last point."""
        trend = np.sign(self.values[-1] - self.values[0])
        stretches = []
        for (left, before), (right, after) in itertools.pairwise(self.pairs):
            step = np.sign(after - before)
            if step in (0, trend):
                continue
            if stretches and stretches[-1][1] == left:
                left = stretches.pop()[0]
            stretches.append((left, right))
        return stretches
