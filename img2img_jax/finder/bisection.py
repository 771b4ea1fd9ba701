"""Where to look next, and which strength to answer with: bisection with several points a round.

Pure Python on curves, so that its laws can be tested on any function.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from img2img_jax.finder.curve import Curve
from img2img_jax.finder.target import Target

EVALUATIONS = 6
"""A third of a sweep of 20 strengths."""
SWEEP = 20
DIGITS = 4
"""Decimals of the strengths tried, so that an answer can be typed again."""


def first_strengths(count: int) -> list[float]:
    """The first round: evenly spaced, 1 included; at 0 the curve is known for free."""
    return [_rounded(place / count) for place in range(1, count + 1)]


def next_strengths(curve: Curve, target: Target, count: int, *, last: bool) -> list[float]:
    """``count`` strengths for the next round, rising, none of them seen before.

    Where the curve crosses the target, they lie half-way between even spacing and the place where it probably does: a
    good guess leaves a short bracket, a bad one at most (count + 2) / (2 count + 2) of it. In the last round, after
    which no bracket is needed, they lie close around the guess. Where nothing crosses the target, they go to both sides
    of the point that came nearest, in case a peak lies between.
    """
    place = None if target.value is None else curve.crossing(target.value)
    if place is None:
        return _around(curve, _nearest(curve, target), count)
    low, high = curve.strengths[place : place + 2]
    guess = (curve.guess(target.value, place) - low) / (high - low)
    even = np.arange(1, count + 1) / (count + 1)
    if last:
        shares = min(max(guess, 1 / 16), 15 / 16) + (even - 1 / 2) / 8
    else:
        shares = (guess + even) / 2
    return [_rounded(low + (high - low) * share) for share in shares]


def _nearest(curve: Curve, target: Target) -> int:
    if target.value is None:
        return int(np.argmax(curve.bend()))
    return int(np.argmin(np.abs(np.asarray(curve.values) - target.value)))


def _around(curve: Curve, place: int, count: int) -> list[float]:
    """Strengths between a point and its neighbours, evenly in either stretch, the wider one first."""
    ends = curve.strengths[max(place - 1, 0) : place + 2]
    stretches = sorted(zip(ends, ends[1:], strict=False), key=lambda ends: ends[0] - ends[1])
    strengths = []
    for number, (low, high) in enumerate(stretches):
        share = len(range(number, count, len(stretches)))
        strengths += np.linspace(low, high, share + 2)[1:-1].tolist()
    return sorted(map(_rounded, strengths))


def _rounded(strength: float) -> float:
    return max(round(float(strength), DIGITS), 10**-DIGITS)  # 0 would run nothing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """The best strength seen.

    Attributes:
      place: in the curve; never 0, where nothing was run.
      reached: the value is within the tolerance of the target, or the knee was found.
      tolerance: in units of the metric; None for a knee.
      problem: why the target was not reached, with the remedy; None if it was.
    """

    place: int
    reached: bool
    tolerance: float | None
    problem: str | None


def answer(curve: Curve, target: Target, tolerance: float | None) -> Answer:
    """The least strength within the tolerance, or else the one whose value is nearest to the target.

    Args:
      tolerance: in units of the metric; None for 1/40 of the curve's span, which is what the nearest of 20 strengths
        leaves of a straight curve.
    """
    if target.value is None:
        return _knee(curve)
    tolerance = curve.span / (2 * SWEEP) if tolerance is None else tolerance
    distances = np.abs(np.asarray(curve.values[1:]) - target.value)
    hits = np.flatnonzero(distances <= tolerance)
    place = 1 + int(hits[0] if len(hits) else np.argmin(distances))
    problem = None if len(hits) else _problem(curve, target)
    return Answer(place=place, reached=problem is None, tolerance=tolerance, problem=problem)


def _knee(curve: Curve) -> Answer:
    bend = curve.bend()[1:]
    place = 1 + int(np.argmax(bend))
    problem = None
    if bend[place - 1] <= 1 / (2 * SWEEP):  # straight, but for what a sweep would miss
        problem = "the curve has no knee: it changes evenly, or faster the higher the strength; ask for a value instead"
    return Answer(place=place, reached=problem is None, tolerance=None, problem=problem)


def _problem(curve: Curve, target: Target) -> str:
    low, high = curve.range
    place = curve.crossing(target.value)
    if place is None:
        return (
            f"{target} is out of reach: the values seen lie in {low:.4g} to {high:.4g} (what the VAE alone does gives "
            f"{curve.values[0]:.4g}); ask for one between them"
        )
    (left, before), (right, after) = curve.pairs[place : place + 2]
    return (
        f"{target} was passed but not met: {before:.4g} at strength {left:.4g}, {after:.4g} at {right:.4g}; allow a "
        "larger tolerance or more evaluations"
    )
