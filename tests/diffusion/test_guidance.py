"""Classifier-free guidance."""

import jax.numpy as jnp
import numpy as np

from img2img_jax.diffusion.guidance import guide

UNCOND, COND = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 2)).astype(np.float32)


def test_scale_runs_from_unconditional_through_conditional_and_beyond():
    scales = jnp.array([0.0, 1.0, 3.0])
    got = guide(UNCOND, COND, scales)
    np.testing.assert_allclose(got[0], UNCOND[0], atol=1e-6)
    np.testing.assert_allclose(got[1], COND[1], atol=1e-6)
    np.testing.assert_allclose(got[2], 3 * COND[2] - 2 * UNCOND[2], atol=1e-5)


def test_full_rescale_restores_each_samples_own_deviation():
    cond = COND * np.float32([1, 5, 9])[:, None, None, None]
    got = np.asarray(guide(UNCOND, cond, 7.5, 1.0))
    np.testing.assert_allclose(got.std(axis=(1, 2, 3)), cond.std(axis=(1, 2, 3)), rtol=1e-4)
    alone = guide(UNCOND[1:2], cond[1:2], 7.5, 1.0)
    np.testing.assert_allclose(got[1:2], alone, rtol=1e-5)


def test_rescale_is_per_sample_and_blends():
    phi = jnp.array([0.0, 0.5, 1.0])
    got, plain, full = guide(UNCOND, COND, 7.5, phi), guide(UNCOND, COND, 7.5), guide(UNCOND, COND, 7.5, 1.0)
    np.testing.assert_allclose(got[0], plain[0], rtol=1e-6)
    np.testing.assert_allclose(got[1], (plain[1] + full[1]) / 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got[2], full[2], rtol=1e-6)


def test_constant_predictions_stay_finite():
    flat = jnp.ones((1, 4, 4, 2))
    assert bool(jnp.isfinite(guide(flat, flat, 7.5, 0.7)).all())
