"""PIE-Bench's masks blacken; they do not leave pixels out."""

import numpy as np

from img2img_jax.metrics.masking import masked
from img2img_jax.metrics.mse import mse


def test_masked_pixels_count_as_equal():
    source, output = np.zeros((1, 4, 4, 3), np.float32), np.ones((1, 4, 4, 3), np.float32)
    mask = np.zeros((1, 4, 4), np.float32)
    mask[:, :1] = 1
    assert float(mse(masked(source, mask), masked(output, mask))[0]) == 0.25
