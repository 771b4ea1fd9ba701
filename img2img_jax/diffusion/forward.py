"""Forward noising."""

import jax
import jax.numpy as jnp


def per_sample(weight, like) -> jax.Array:
    """Reshapes ``weight`` [B] (or a scalar) so that it multiplies ``like`` [B, ...] sample by sample."""
    weight = jnp.asarray(weight)
    return weight.reshape(weight.shape + (1,) * (like.ndim - weight.ndim)) if weight.ndim else weight


def add_noise(x0, noise, alpha, sigma) -> jax.Array:
    """x_t = alpha x_0 + sigma noise (Ho et al. 2006.11239, equation 4).

    Args:
        x0: [B, ...] clean latents.
        noise: [B, ...] standard normal.
        alpha: scalar or [B], the weight of the image, in [0, 1].
        sigma: scalar or [B], the weight of the noise, in [0, 1].

    Returns:
        [B, ...] noisy latents.
    """
    return per_sample(alpha, x0) * x0 + per_sample(sigma, x0) * noise
