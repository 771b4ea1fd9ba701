"""The analytic denoiser against statistics and against its own ODE."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from img2img_jax.diffusion import prediction
from img2img_jax.diffusion.schedule import NoiseSchedule
from img2img_jax.testing import AnalyticDenoiser

SCHEDULE = NoiseSchedule.from_config(
    {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
)


@pytest.mark.parametrize("prediction_type", prediction.PREDICTION_TYPES)
def test_no_linear_predictor_is_better(prediction_type):
    """Its error is uncorrelated with what it saw, and has mean 0: the conditions of the best prediction."""
    denoiser = AnalyticDenoiser(schedule=SCHEDULE, prediction_type=prediction_type, mean=0.4, std=0.5)
    z, noise = jax.random.normal(jax.random.key(0), (2, 1, 200_000))
    x0, (alpha, sigma) = 0.4 + 0.5 * z, denoiser.level(jnp.array([500.0]))
    x = alpha * x0 + sigma * noise
    error = denoiser(x, jnp.array([500.0])) - prediction.target(prediction_type, x0, noise, alpha, sigma)
    assert abs(error.mean()) < 0.01
    assert abs(np.corrcoef(error[0], x[0])[0, 1]) < 0.01
    assert error.std() > 0.1


def test_levels_are_the_schedules_at_whole_and_fractional_times():
    t = np.array([0.0, 0.5, 300.25, 999.0, 999.7, 1000.0])
    alpha, sigma = AnalyticDenoiser(schedule=SCHEDULE).level(jnp.asarray(t, jnp.float32))
    np.testing.assert_allclose(alpha, SCHEDULE.alpha(t), rtol=1e-4)
    np.testing.assert_allclose(sigma, SCHEDULE.sigma(t), rtol=1e-4)


def test_flow_solves_the_probability_flow_ode():
    """d(x / alpha) / ds = eps with s = sigma / alpha, by central differences."""
    denoiser = AnalyticDenoiser(schedule=SCHEDULE, mean=0.4, std=0.5)

    def level(s):
        return 1 / np.sqrt(1 + s**2), s / np.sqrt(1 + s**2)

    x, s, h = np.array([[-1.0, 0.2, 1.5]]), 1.3, 1e-4
    ahead, behind = (denoiser.flow(x, level(s), level(s + d)) / level(s + d)[0] for d in (h, -h))
    np.testing.assert_allclose((ahead - behind) / (2 * h), denoiser.predict(x, *level(s)), rtol=1e-5)


def test_flow_keeps_quantiles_and_reverses():
    denoiser = AnalyticDenoiser(schedule=SCHEDULE, mean=0.4, std=0.5)
    x = np.array([[0.4, 0.9]])
    noisy = denoiser.flow(x, (1.0, 0.0), (0.6, 0.8))
    np.testing.assert_allclose(noisy[0, 0], 0.6 * 0.4)
    np.testing.assert_allclose(noisy[0, 1] - noisy[0, 0], np.sqrt(0.36 * 0.25 + 0.64))
    np.testing.assert_allclose(denoiser.flow(noisy, (0.6, 0.8), (1.0, 0.0)), x)


def test_unknown_prediction_type_is_refused():
    with pytest.raises(ValueError, match="'score' is not known"):
        AnalyticDenoiser(schedule=SCHEDULE, prediction_type="score")(jnp.ones((1, 2)), jnp.array([5.0]))
