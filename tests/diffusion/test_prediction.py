"""Conversions between epsilon, v_prediction and sample."""

import numpy as np
import pytest

from img2img_jax.diffusion import prediction
from img2img_jax.diffusion.forward import add_noise

ALPHA, SIGMA = np.float32([0.8, 0.28]), np.float32([0.6, 0.96])  # one level per sample
X0, NOISE = np.random.default_rng(0).standard_normal((2, 2, 3, 4, 5)).astype(np.float32)
X = np.asarray(add_noise(X0, NOISE, ALPHA, SIGMA))


@pytest.mark.parametrize("prediction_type", prediction.PREDICTION_TYPES)
def test_the_target_gives_back_image_and_noise(prediction_type):
    output = prediction.target(prediction_type, X0, NOISE, ALPHA, SIGMA)
    np.testing.assert_allclose(prediction.to_x0(prediction_type, X, output, ALPHA, SIGMA), X0, atol=1e-5)
    np.testing.assert_allclose(prediction.to_epsilon(prediction_type, X, output, ALPHA, SIGMA), NOISE, atol=1e-5)


def test_v_is_what_salimans_and_ho_define():
    v = prediction.target("v_prediction", X0, NOISE, 0.8, 0.6)
    np.testing.assert_allclose(v, 0.8 * NOISE - 0.6 * X0, atol=1e-6)


@pytest.mark.parametrize("prediction_type", prediction.PREDICTION_TYPES)
def test_coefficients_agree_with_one_another(prediction_type):
    """alpha x_0 + sigma eps = x, whatever the output."""
    (p, q), (r, s) = (
        f(prediction_type, 0.8, 0.6) for f in (prediction.x0_coefficients, prediction.epsilon_coefficients)
    )
    assert 0.8 * p + 0.6 * r == pytest.approx(1) and 0.8 * q + 0.6 * s == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("call", [prediction.x0_coefficients, prediction.epsilon_coefficients])
def test_unknown_type_is_refused(call):
    with pytest.raises(ValueError, match="'flow' is not known; choose one of epsilon, v_prediction, sample"):
        call("flow", 0.8, 0.6)
    with pytest.raises(ValueError, match="flow"):
        prediction.target("flow", X0, NOISE, 0.8, 0.6)
