"""Intervals cover what they should, and widen for what rows share."""

import numpy as np
import pytest

from img2img_jax.metrics import bootstrap_mean

IMAGES, SEEDS = np.repeat(np.arange(12), 5), np.tile(np.arange(5), 12)


def crossed(image_scale, seed_scale, row_scale, seed=0):
    rng = np.random.default_rng(seed)
    parts = image_scale * rng.standard_normal(12)[IMAGES], seed_scale * rng.standard_normal(5)[SEEDS]
    return sum(parts) + row_scale * rng.standard_normal(60)


def test_the_mean_is_the_mean_and_lies_inside():
    values = crossed(1, 1, 1)
    found = bootstrap_mean(values, IMAGES, SEEDS)
    assert found.mean == pytest.approx(values.mean())
    assert found.low < found.mean < found.high


def test_equal_values_leave_no_doubt():
    assert bootstrap_mean(np.full(60, 2.5), IMAGES, SEEDS) == (2.5, 2.5, 2.5)


def test_the_interval_of_independent_rows_is_that_of_the_theory():
    """One seed: the plain bootstrap of a mean, 1.96 standard errors each way."""
    values = np.random.default_rng(0).standard_normal(400)
    found = bootstrap_mean(values, range(400), [0] * 400)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_images_and_seeds_both_count():
    """What is shared by an image's or a seed's rows must widen the interval far beyond that of 60 loose rows."""
    for scales in ((1, 0, 0.01), (0, 1, 0.01)):
        values = crossed(*scales)
        both = bootstrap_mean(values, IMAGES, SEEDS)
        loose = bootstrap_mean(values, range(60), [0] * 60)
        assert both.high - both.low > 1.8 * (loose.high - loose.low)


def test_coverage():
    """With many images and seeds, 95 % intervals hold the true mean about 19 times in 20."""
    images, seeds = np.repeat(np.arange(30), 20), np.tile(np.arange(20), 30)
    hits = 0
    for trial in range(100):
        rng = np.random.default_rng(trial)
        values = rng.standard_normal(30)[images] + rng.standard_normal(20)[seeds] + rng.standard_normal(600)
        found = bootstrap_mean(values, images, seeds, resamples=400, seed=trial)
        hits += found.low <= 0 <= found.high
    assert hits >= 88


def test_missing_rows_and_repeats():
    values, keep = crossed(1, 1, 1), np.arange(60) % 7 > 0
    found = bootstrap_mean(values[keep], IMAGES[keep], SEEDS[keep])
    assert found.mean == pytest.approx(values[keep].mean())
    again = bootstrap_mean(values[keep], IMAGES[keep], SEEDS[keep])
    assert found == again != bootstrap_mean(values[keep], IMAGES[keep], SEEDS[keep], seed=1)


def test_a_higher_level_is_wider():
    values = crossed(1, 1, 1)
    wide, narrow = (bootstrap_mean(values, IMAGES, SEEDS, level=level) for level in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(
    ("values", "options", "problem"),
    [
        ([], {}, "at least one"),
        ([1.0, 2.0], {}, "as many"),
        ([np.inf], {}, "inf has no mean"),
        ([1.0], {"level": 1}, "level=1"),
    ],
)
def test_what_makes_no_sense_is_refused(values, options, problem):
    with pytest.raises(ValueError, match=problem):
        bootstrap_mean(values, [0], [0], **options) if values else bootstrap_mean([], [], [])
