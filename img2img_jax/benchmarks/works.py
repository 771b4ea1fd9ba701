"""The pieces of work, done by this package; peers do the same from the same inputs."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from img2img_jax import micro_conditioning, programs
from img2img_jax.benchmarks.comparison import Work
from img2img_jax.models import UNet2DConditionConfig
from img2img_jax.pipeline import Img2ImgPipeline
from img2img_jax.types import AddedConditions

PROMPT, STEPS, GUIDANCE, STRENGTH = "red apple, 3d style", 20, 4.0, 0.8
STRENGTHS = tuple(np.linspace(0.1, 1.0, 10).round(1).tolist())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    """What both sides get, drawn from a seed; NHWC, float32.

    Attributes:
      pictures: [B, H, W, 3] in 0..1.
      latents: [2 B, h, w, c], standard normal: those of a network step with guidance; ``noise`` likewise.
      text: [2 B, L, d], standard normal.
      timestep: of the step.
      added: of models that take a pooled text and sizes (SDXL): [2 B, p] and [2 B, 6]; None for others.
    """

    pictures: np.ndarray
    latents: np.ndarray
    noise: np.ndarray
    text: np.ndarray
    timestep: int = 501
    added: AddedConditions | None = None

    @classmethod
    def draw(
        cls, config: UNet2DConditionConfig, *, count: int, side: int, factor: int, tokens: int = 77, seed: int = 0
    ) -> Inputs:
        """For ``count`` pictures of ``side`` pixels, and a VAE whose latents have ``factor`` pixels a side."""
        rng, small = np.random.default_rng(seed), side // factor
        shape = (2 * count, small, small, config.in_channels)
        return cls(
            pictures=rng.random((count, side, side, 3), np.float32),
            latents=rng.standard_normal(shape, np.float32),
            noise=rng.standard_normal(shape, np.float32),
            text=rng.standard_normal((2 * count, tokens, config.cross_attention_dim), np.float32),
            added=_added(config, rng, 2 * count, side) if config.takes_sizes else None,
        )


def _added(config: UNet2DConditionConfig, rng: np.random.Generator, rows: int, side: int) -> AddedConditions:
    sizes = micro_conditioning.time_ids(micro_conditioning.columns({}, False), False, (side, side))[0, 1]
    pooled = config.projection_class_embeddings_input_dim - len(sizes) * config.addition_time_embed_dim
    return AddedConditions(rng.standard_normal((rows, pooled), np.float32), np.tile(sizes, (rows, 1)))


class Works:
    """Pieces of work of one pipeline on the same inputs; every method returns one, which may be done repeatedly."""

    def __init__(self, pipe: Img2ImgPipeline, inputs: Inputs):
        self.pipe, self.inputs = pipe, inputs

    def unet_step(self) -> Work:
        """One evaluation of the UNet, for B pictures with guidance."""
        graphdef, state = nnx.split(self.pipe.unet)
        given = self.inputs

        @jax.jit
        def step(
            state: nnx.State, x: jax.Array, timestep: jax.Array, text: jax.Array, added: AddedConditions | None
        ) -> jax.Array:
            return nnx.merge(graphdef, state)(x, timestep, text, added=added)

        timestep = np.full(len(given.latents), given.timestep, np.float32)
        return lambda: np.asarray(step(state, given.latents, timestep, given.text, given.added))

    def vae_encode(self) -> Work:
        """Pictures to the mean of their posterior."""
        graphdef, state = nnx.split(self.pipe.vae)
        encode = jax.jit(lambda state, images: nnx.merge(graphdef, state).encode(images)[0])
        return lambda: np.asarray(encode(state, 2 * self.inputs.pictures - 1))

    def vae_decode(self) -> Work:
        """Latents to pictures in [-1, 1]."""
        graphdef, state = nnx.split(self.pipe.vae)
        latents = self.inputs.latents[: len(self.inputs.pictures)]
        return lambda: np.asarray(programs.decode(graphdef, state, latents * self.pipe.vae.config.scaling_factor))

    def picture(self, strength: float = STRENGTH, steps: int = STEPS) -> Work:
        """Pictures under a prompt, from end to end."""
        given, count = self.inputs, len(self.inputs.pictures)

        def call() -> np.ndarray:
            return self.pipe(
                PROMPT,
                given.pictures,
                strength=strength,
                num_inference_steps=steps,
                guidance_scale=GUIDANCE,
                posterior_noise=given.latents[:count],
                noise=given.noise[:count],
                scheduler="ddim",
                noise_at_one="leak",
                output_type="np",
            ).images

        return call

    def sweep(self) -> Work:
        """The same pictures at ten strengths."""
        calls = [self.picture(strength) for strength in STRENGTHS]
        return lambda: np.stack([call() for call in calls])

    def train_step(self) -> Work:
        """Losses of two steps of AdamW on the UNet, from the same start each time."""
        graphdef, start = nnx.split(self.pipe.unet)
        optimizer, given = optax.adamw(1e-4, weight_decay=1e-2), self.inputs
        timestep = np.full(len(given.latents), given.timestep, np.float32)

        @jax.jit
        def update(state: nnx.State, moments: optax.OptState) -> tuple[nnx.State, optax.OptState, jax.Array]:
            def loss(state: nnx.State) -> jax.Array:
                output = nnx.merge(graphdef, state)(given.latents, timestep, given.text)
                return jnp.square(output - given.noise).mean()

            value, grads = jax.value_and_grad(loss)(state)
            updates, moments = optimizer.update(grads, moments, state)
            return optax.apply_updates(state, updates), moments, value

        def two_steps() -> np.ndarray:
            state, moments, losses = start, optimizer.init(start), []
            for _ in range(2):
                state, moments, loss = update(state, moments)
                losses.append(loss)
            return np.asarray(losses)

        return two_steps
