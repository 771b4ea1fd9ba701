"""Decibels by hand."""

import numpy as np
import pytest

from img2img_jax.metrics.psnr import psnr


@pytest.mark.parametrize(("difference", "decibels"), [(1, 0), (0.1, 20), (0.01, 40)])
def test_a_constant_difference(difference, decibels):
    source = np.zeros((2, 3, 3, 3), np.float32)
    np.testing.assert_allclose(psnr(source, source + np.float32(difference)), decibels, atol=1e-4)
