"""What a network predicts, and what that says about image and noise.

With x = alpha x_0 + sigma eps, a network's raw output is one of

    epsilon        eps
    v_prediction   v = alpha eps - sigma x_0     (Salimans & Ho 2202.00512)
    sample         x_0

Each determines the other two given x, linearly: x_0 = p x + q output. The pairs (p, q) go into the
samplers' tables, so that the sampling loop never asks for the prediction type.
"""

import jax

from .forward import per_sample

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


def x0_coefficients(prediction_type: str, alpha, sigma) -> tuple:
    """(p, q) with x_0 = p x + q output, at levels ``alpha``, ``sigma`` (floats or arrays).

    Raises:
        ValueError: for an unknown prediction type.
    """
    if prediction_type == "epsilon":
        return 1 / alpha, -sigma / alpha
    if prediction_type == "v_prediction":
        return alpha, -sigma
    if prediction_type == "sample":
        return 0 * alpha, 1 + 0 * alpha
    raise unknown_prediction_type(prediction_type)


def epsilon_coefficients(prediction_type: str, alpha, sigma) -> tuple:
    """(p, q) with eps = p x + q output, at levels ``alpha``, ``sigma`` (floats or arrays).

    Raises:
        ValueError: for an unknown prediction type.
    """
    if prediction_type == "epsilon":
        return 0 * alpha, 1 + 0 * alpha
    if prediction_type == "v_prediction":
        return sigma, alpha
    if prediction_type == "sample":
        return 1 / sigma, -alpha / sigma
    raise unknown_prediction_type(prediction_type)


def to_x0(prediction_type: str, x, output, alpha, sigma) -> jax.Array:
    """The clean latents [B, ...] that a raw ``output`` [B, ...] implies at ``x`` [B, ...] and level (scalar or [B])."""
    p, q = x0_coefficients(prediction_type, per_sample(alpha, x), per_sample(sigma, x))
    return p * x + q * output


def to_epsilon(prediction_type: str, x, output, alpha, sigma) -> jax.Array:
    """The noise [B, ...] that a raw ``output`` [B, ...] implies at ``x`` [B, ...] and level (scalar or [B])."""
    p, q = epsilon_coefficients(prediction_type, per_sample(alpha, x), per_sample(sigma, x))
    return p * x + q * output


def target(prediction_type: str, x0, noise, alpha, sigma) -> jax.Array:
    """What the network should output [B, ...] at alpha x_0 + sigma noise; ``alpha``, ``sigma`` scalar or [B].

    Raises:
        ValueError: for an unknown prediction type.
    """
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "v_prediction":
        return per_sample(alpha, x0) * noise - per_sample(sigma, x0) * x0
    if prediction_type == "sample":
        return x0
    raise unknown_prediction_type(prediction_type)


def unknown_prediction_type(prediction_type) -> ValueError:
    """The error for a prediction type nobody here speaks."""
    return ValueError(f"prediction_type={prediction_type!r} is not known; choose one of {', '.join(PREDICTION_TYPES)}")
