"""The reconstruction loss of the VAE: pixels, edges, colour, and a little KL."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from img2img_jax.models import AutoencoderKL
from img2img_jax.training.pixels import to_model
from img2img_jax.types import Image, Latents


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAELossConfig:
    """Weights of the terms, relative to the L1 of the pixels.

    Attributes:
      gradient: L1 of horizontal and vertical differences, which keeps edges sharp.
      chroma: L1 of the two colour-difference channels; without it saturated colours drift to brown.
      kl: of the posterior to N(0, 1), per latent; only to keep the latents' scale in hand.
      noise: no weight, but the largest standard deviation of noise on the latents, drawn for each picture between 0 and
        this; for a finished VAE, whose latents have deviation 1. What a UNet draws is near what the encoder makes, not
        among it, and a decoder that has seen only the latter shows every error as a ripple.
    """

    gradient: float = 1.0
    chroma: float = 1.0
    kl: float = 1e-4
    noise: float = 0.0


def _differences(x: Image) -> tuple[Image, Image]:
    return x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]


def _chroma(x: Image) -> Float[Array, "b H W 2"]:
    luma = x @ jnp.asarray([0.299, 0.587, 0.114], x.dtype)
    return jnp.stack([x[..., 0] - luma, x[..., 2] - luma], -1)


def reconstruction_loss(decoded: Image, images: Image, config: VAELossConfig) -> Float[Array, ""]:
    """L1 over pixels, over their differences and over their chroma, weighted."""
    gradient = sum(jnp.abs(a - b).mean() for a, b in zip(_differences(decoded), _differences(images), strict=True))
    chroma = jnp.abs(_chroma(decoded) - _chroma(images)).mean()
    return jnp.abs(decoded - images).mean() + config.gradient * gradient + config.chroma * chroma


def kl_divergence(mean: Latents, logvar: Latents) -> Float[Array, ""]:
    """Mean per latent of KL(N(mean, exp(logvar)) || N(0, 1))."""
    return 0.5 * (jnp.square(mean) + jnp.exp(logvar) - 1.0 - logvar).mean()


def psnr(decoded: Image, images: Image) -> Float[Array, " b"]:
    """Peak signal-to-noise ratio per picture, in dB; data range 2 (pictures in [-1, 1]), decoded values clipped."""
    error = jnp.square(jnp.clip(decoded, -1, 1) - images).mean((1, 2, 3))
    return 10 * jnp.log10(4.0 / error)


def loss_fn(graphdef: nnx.GraphDef, config: VAELossConfig):
    """The VAE's loss in the form ``fit`` takes; batches hold ``images`` (uint8).

    ``frozen`` is the part of the VAE's state that is not trained, which may be empty.
    """

    def loss(params, frozen, batch, key):
        vae: AutoencoderKL = nnx.merge(graphdef, params, frozen)
        images = to_model(batch["images"])
        mean, logvar = vae.encode(images)
        noise_key, share_key = jax.random.split(key)
        added = config.noise * jax.random.uniform(share_key, (len(mean), 1, 1, 1))
        deviation = jnp.sqrt(jnp.exp(logvar) + jnp.square(added))
        latents = mean + deviation * jax.random.normal(noise_key, mean.shape)
        decoded = vae.decode(latents)
        kl = kl_divergence(mean, logvar)
        value = reconstruction_loss(decoded, images, config) + config.kl * kl
        return value, {"psnr": psnr(decoded, images).mean(), "kl": kl}

    return loss
