"""Curves as they are seen."""

import math

import numpy as np
import pytest

from img2img_jax.finder.curve import Curve


def curve(*values):
    return Curve(strengths=tuple(np.linspace(0, 1, len(values)).tolist()), values=values)


def test_new_points_find_their_place_and_seen_ones_stay():
    extended = curve(0.0, 1.0).extended([(1.0, 9.0), (0.5, 0.2)])
    assert extended.pairs == [(0.0, 0.0), (0.5, 0.2), (1.0, 1.0)]


def test_span_and_range_with_an_infinite_value():
    seen = curve(math.inf, 30.0, 10.0)
    assert seen.span == 20 and seen.range == (10, math.inf)


def test_the_first_crossing_counts():
    assert curve(0.0, 1.0, 0.0, 1.0).crossing(0.5) == 0
    assert curve(1.0, 0.8, 0.2).crossing(0.5) == 1
    assert curve(1.0, 0.8, 0.2).crossing(0.1) is None


@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_guess_is_near_on_smooth_curves(power):
    seen = curve(*(np.linspace(0, 1, 6) ** power).tolist())
    assert seen.guess(0.5, seen.crossing(0.5)) == pytest.approx(0.5 ** (1 / power), abs=0.01)


def test_a_guess_beside_infinity_or_on_a_plateau_is_half_way():
    assert curve(math.inf, 30.0, 10.0).guess(40, 0) == 0.25
    assert curve(1.0, 0.5, 0.5, 0.0).guess(0.5, 1) == pytest.approx(0.5, rel=1e-12)


def test_stretches_against_the_trend_are_named_once():
    assert curve(1.0, 0.9, 0.5, 0.1).non_monotone() == []
    assert curve(1.0, 0.5, 0.6, 0.7, 0.1).non_monotone() == [(0.25, 0.75)]
    assert curve(0.0, 0.6, 0.5, 0.7, 1.0).non_monotone() == [(0.25, 0.5)]
    assert len(curve(0.0, 0.6, 0.5, 0.7, 0.6, 1.0).non_monotone()) == 2
    assert curve(1.0, 0.5, 0.5, 0.1).non_monotone() == []  # flat is not against it


def test_a_hump_that_ends_where_it_began_goes_no_way_at_all():
    assert curve(0.0, 1.0, 0.0).non_monotone() == [(0.0, 1.0)]


def test_the_knee_of_a_saturating_curve():
    strengths = np.linspace(0, 1, 101)
    assert strengths[np.argmax(curve(*np.minimum(strengths / 0.3, 1).tolist()).bend())] == pytest.approx(0.3)
    falling = curve(*(1 - np.minimum(strengths / 0.3, 1)).tolist())
    assert strengths[np.argmax(falling.bend())] == pytest.approx(0.3)


def test_even_and_constant_curves_do_not_bend():
    np.testing.assert_allclose(curve(0.0, 0.5, 1.0).bend(), 0)
    np.testing.assert_array_equal(curve(2.0, 2.0, 2.0).bend(), 0)


def test_nan_has_no_place():
    with pytest.raises(ValueError, match="NaN at strength 0.5"):
        curve(0.0, math.nan, 1.0)
