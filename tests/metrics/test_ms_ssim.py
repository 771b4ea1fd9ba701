"""The parts of MS-SSIM; its value is compared in tests/parity."""

import numpy as np
import pytest

from img2img_jax.metrics.ms_ssim import SMALLEST, halve, ms_ssim
from img2img_jax.metrics.ssim import ssim


def test_halving_takes_means_and_repeats_an_odd_edge():
    x = np.arange(15, dtype=np.float32).reshape(1, 3, 5, 1)
    np.testing.assert_array_equal(halve(x)[0, :, :, 0], [[3, 5, 6.5], [10.5, 12.5, 14]])


@pytest.mark.parametrize(("metric", "side"), [(ssim, 11), (ms_ssim, SMALLEST)])
def test_too_small_pictures_are_refused(metric, side):
    small = np.zeros((1, side, side - 1, 3), np.float32)
    with pytest.raises(ValueError, match=f"at least {side} pixels a side, not {side}x{side - 1}"):
        metric(small, small)
