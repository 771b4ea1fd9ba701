"""The search on curves given as formulas."""

import math

import numpy as np
import pytest

from img2img_jax.finder.bisection import EVALUATIONS, SWEEP, answer, first_strengths, next_strengths
from img2img_jax.finder.curve import Curve
from img2img_jax.finder.target import Target

CURVES = {
    "straight": lambda s: 1 - s,
    "convex": lambda s: math.exp(-3 * s),
    "concave": lambda s: 1 - s**3,
    "sigmoid": lambda s: 1 / (1 + math.exp(12 * (s - 0.6))),
    "exponential": lambda s: math.expm1(7 * s),
    "rising": lambda s: s**2,
}


def search(function, target, *, points=2, rounds=3, tolerance=None):
    """Curve and answer of a whole search."""
    curve = Curve(strengths=(0.0,), values=(function(0.0),))
    for number in range(rounds):
        last = number == rounds - 1
        strengths = next_strengths(curve, target, points, last=last) if number else first_strengths(points)
        assert len(strengths) == points and all(0 < s <= 1 and s == round(s, 4) for s in strengths)
        curve = curve.extended((s, function(s)) for s in strengths)
        found = answer(curve, target, tolerance)
        if found.reached and target.value is not None:
            break
    return curve, found


def values(function, count=37):
    ends = function(0.0), function(1.0)
    return np.linspace(*ends, count + 2)[1:-1]


@pytest.mark.parametrize("name", CURVES)
def test_every_value_of_a_monotone_curve_is_reached_with_a_third_of_a_sweep(name):
    assert EVALUATIONS <= SWEEP / 3
    for value in values(CURVES[name]):
        curve, found = search(CURVES[name], Target(metric="m", value=float(value)))
        assert found.reached, (value, curve)
        assert abs(curve.values[found.place] - value) <= found.tolerance <= curve.span / 40
        assert curve.non_monotone() == []


@pytest.mark.parametrize("points", [1, 2, 3, 5])
def test_the_bracket_shrinks_as_promised_however_bad_the_guess(points):
    # Nearly a step: a guess says nothing.
    curve, before = Curve(strengths=(0.0, 1.0), values=(1.0, 0.0)), 1.0
    for _ in range(6):
        strengths = next_strengths(curve, Target(metric="m", value=0.01), points, last=False)
        curve = curve.extended((s, 1.0 if s < 0.9017 else 0.0) for s in strengths)
        low, high = curve.strengths[(place := curve.crossing(0.01)) : place + 2]
        assert low < 0.9017 <= high and high - low <= before * (points + 2) / (2 * points + 2) + 1e-4  # rounded
        before = high - low
    assert answer(curve, Target(metric="m", value=0.01), 1e-3).problem.startswith("m=0.01 was passed but not met")


@pytest.mark.parametrize("value", [-0.2, 1.2])
def test_values_outside_the_curve_are_out_of_reach(value):
    curve, found = search(CURVES["sigmoid"], Target(metric="ssim", value=value))
    assert not found.reached
    assert found.problem.startswith(f"ssim={value} is out of reach: the values seen lie in 0.00816")
    assert "gives 0.9993" in found.problem
    assert curve.strengths[found.place] == (1.0 if value < 0 else min(curve.strengths[1:]))


def test_the_input_itself_is_no_answer():
    # At 0 the curve has the target exactly, but nothing would run there.
    curve, found = search(CURVES["straight"], Target(metric="m", value=1.0))
    assert found.place > 0 and curve.strengths[found.place] > 0


def test_a_peak_between_the_points_is_looked_for():
    def hump(s):
        return math.exp(-(((s - 0.62) / 0.2) ** 2))

    assert max(hump(0.5), hump(1)) < 0.95
    curve, found = search(hump, Target(metric="m", value=0.95), rounds=4)
    assert found.reached and curve.non_monotone()


def test_of_several_strengths_the_least_is_taken():
    curve, found = search(lambda s: math.sin(3 * math.pi * s), Target(metric="m", value=0.5), points=9, rounds=2)
    assert found.reached and curve.strengths[found.place] < 0.2
    assert len(curve.non_monotone()) >= 1


def test_a_smaller_tolerance_takes_more_or_fails():
    target = Target(metric="m", value=0.3)
    _, coarse = search(CURVES["convex"], target, tolerance=0.3)
    _, fine = search(CURVES["convex"], target, tolerance=1e-9)
    assert coarse.reached and not fine.reached and "larger tolerance" in fine.problem


def test_infinity_at_the_start_of_a_curve():
    curve, found = search(lambda s: -20 * math.log10(s) if s else math.inf, Target(metric="psnr", value=9.0))
    assert found.reached and curve.strengths[found.place] == pytest.approx(10 ** (-9 / 20), abs=0.03)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_knee_is_found(sign):
    curve, found = search(lambda s: sign * (1 - math.exp(-8 * s)), Target(metric="m", value=None))
    # Its bend is largest where the slope is that of the chord.
    assert found.reached and curve.strengths[found.place] == pytest.approx(math.log(8) / 8, abs=0.07)


@pytest.mark.parametrize("name", ["straight", "rising"])
def test_curves_without_a_knee_say_so(name):
    _, found = search(CURVES[name], Target(metric="m", value=None))
    assert not found.reached and "no knee" in found.problem
