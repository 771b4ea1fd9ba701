"""Forward noising."""

import numpy as np

from img2img_jax.diffusion.forward import add_noise, per_sample


def test_mean_and_variance_are_the_schedules():
    noise = np.random.default_rng(0).standard_normal((2, 64, 64, 4)).astype(np.float32)
    x = np.asarray(add_noise(np.full_like(noise, 3.0), noise, np.float32([0.8, 0.1]), np.float32([0.6, 0.99])))
    np.testing.assert_allclose(x.mean(axis=(1, 2, 3)), [2.4, 0.3], atol=0.03)
    np.testing.assert_allclose(x.std(axis=(1, 2, 3)), [0.6, 0.99], rtol=0.02)


def test_per_sample_weights_touch_their_own_sample_only():
    x = np.ones((2, 3, 4))
    assert per_sample(np.float32([1, 2]), x).shape == (2, 1, 1)
    np.testing.assert_array_equal(per_sample(np.float32([1, 2]), x) * x, np.stack([x[0], 2 * x[1]]))
    assert per_sample(0.5, x).shape == ()
