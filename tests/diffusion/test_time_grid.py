"""Time grids against values worked out by hand."""

import numpy as np

from img2img_jax.diffusion import time_grid


def test_leading_is_stable_diffusions_grid():
    times = time_grid.leading(1000, 50, offset=1)
    np.testing.assert_array_equal(times, np.arange(981, 0, -20))


def test_trailing_starts_at_the_last_step():
    np.testing.assert_array_equal(time_grid.trailing(1000, 4), [999, 749, 499, 249])
    np.testing.assert_array_equal(time_grid.trailing(1000, 3), [999, 666, 332])
    assert all(len(time_grid.trailing(1000, n)) == n for n in range(1, 1001))


def test_linspace_has_both_ends():
    np.testing.assert_array_equal(time_grid.linspace(1000, 4, whole=True), [999, 666, 333, 0])
    np.testing.assert_allclose(time_grid.linspace(1000, 5, whole=False), [999, 749.25, 499.5, 249.75, 0])


def test_karras_is_equidistant_in_the_seventh_root():
    sigmas = time_grid.karras(80.0, 0.002, 6)
    np.testing.assert_allclose(sigmas[[0, -1]], [80.0, 0.002], rtol=1e-12)
    np.testing.assert_allclose(np.diff(sigmas ** (1 / 7)), (0.002 ** (1 / 7) - 80 ** (1 / 7)) / 5, rtol=1e-9)


def test_continuous_starts_anywhere_and_steps_evenly_to_zero():
    np.testing.assert_allclose(time_grid.continuous(333.3, 3), [333.3, 222.2, 111.1])
