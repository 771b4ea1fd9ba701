"""The denoising loss of the UNet (Ho et al. 2006.11239, eq. 14; v-prediction as in Salimans & Ho 2202.00512)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from img2img_jax.diffusion.forward import add_noise
from img2img_jax.diffusion.prediction import target, to_epsilon
from img2img_jax.diffusion.schedule import NoiseSchedule

BANDS = 4


@dataclasses.dataclass(frozen=True)
class NoiseTable:
    """alpha and sigma at every training timestep, float32 [T]: what the loss reads of a schedule."""

    alpha: Array
    sigma: Array

    @classmethod
    def of(cls, schedule: NoiseSchedule) -> NoiseTable:
        kept = jnp.asarray(schedule.alphas_cumprod, jnp.float32)
        return cls(jnp.sqrt(kept), jnp.sqrt(1 - kept))


def denoising_errors(
    unet: nnx.Module,
    table: NoiseTable,
    latents: Float[Array, "b h w c"],
    text: Float[Array, "b L d"],
    timesteps: Float[Array, " b"],
    noise: Float[Array, "b h w c"],
    prediction_type: str,
    start: Float[Array, "b h w c"] | None = None,
) -> Float[Array, " b"]:
    """Mean squared error per sample of the UNet's prediction at integer ``timesteps``.

    Args:
      start: what the noise is added to, if that is not ``latents`` themselves: all that is not them counts as noise.
    """
    alpha, sigma = (row[timesteps][:, None, None, None] for row in (table.alpha, table.sigma))
    noisy = add_noise(latents if start is None else start, noise, alpha, sigma)
    if start is not None:
        noise = to_epsilon("sample", noisy, latents, alpha, sigma)
    prediction = unet(noisy, timesteps.astype(jnp.float32), text)
    wanted = target(prediction_type, latents, noise, alpha, sigma)
    return jnp.square(prediction.astype(jnp.float32) - wanted).mean((1, 2, 3))


def draw_timesteps(
    key: Array, count: int, steps: int, skew: float = 1.0, earliest: Float[Array, " b"] | float = 0.0
) -> Float[Array, " b"]:
    """Integer timesteps in [0, steps), one in each 1/count of the distribution: stratified, for less variance.

    Which sample gets which is drawn too: the places in a batch may tell samples of several kinds apart.

    Args:
      skew: 1 draws evenly; above 1 more often where there is much noise, ``t / steps = 1 - (1 - u)**skew``, which
        is where the prompt decides what is drawn.
      earliest: share of the time axis, from 0, that is kept clear of: the distribution is compressed into the rest.
    """
    within, order = jax.random.split(key)
    u = (jax.random.permutation(order, count) + jax.random.uniform(within, (count,))) / count
    return jnp.minimum((1 - (1 - earliest) * (1 - u) ** skew) * steps, steps - 1).astype(jnp.int32)


def along(ramp: Float[Array, "b 2"], where: Float[Array, " b"]) -> Float[Array, " b"]:
    """How far up a ramp a place is: 0 where it begins and before, 1 where it ends and after."""
    begins, ends = ramp[:, 0], ramp[:, 1]
    return jnp.clip((where - begins) / jnp.maximum(ends - begins, jnp.finfo(jnp.float32).tiny), 0, 1)


def errors_at_random(
    unet: nnx.Module,
    table: NoiseTable,
    latents: Float[Array, "b h w c"],
    text: Float[Array, "b L d"],
    key: Array,
    prediction_type: str,
    skew: float = 1.0,
    start: Float[Array, "b h w c"] | None = None,
    ramp: Float[Array, "b 2"] | None = None,
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """``denoising_errors`` at timesteps and noise drawn from ``key``, and the timesteps.

    Args:
      skew: as in ``draw_timesteps``.
      start, ramp: as in ``loss_fn``.
    """
    time_key, noise_key = jax.random.split(key)
    earliest = 0.0 if ramp is None else ramp[:, 0]
    timesteps = draw_timesteps(time_key, len(latents), len(table.alpha), skew, earliest)
    noise = jax.random.normal(noise_key, latents.shape)
    if start is not None and ramp is not None:
        latents = start + along(ramp, timesteps / len(table.alpha))[:, None, None, None] * (latents - start)
    return denoising_errors(unet, table, latents, text, timesteps, noise, prediction_type, start), timesteps


def loss_fn(
    graphdef: nnx.GraphDef,
    text_graphdef: nnx.GraphDef,
    schedule: NoiseSchedule,
    prediction_type: str,
    *,
    skew: float = 1.0,
):
    """The loss in the form ``fit`` takes; ``skew`` as in ``draw_timesteps``.

    Batches hold ``latents`` [B,h,w,c] and ``input_ids`` [B,L] (captions, some already dropped to the empty prompt);
    ``frozen`` holds the text encoder's parameters. Metrics give the loss by quarter of the time axis, NaN where a
    batch had no sample there.

    A batch may also hold ``start`` [B,h,w,c] and ``ramp`` [B,2], shares of the time axis. Where a ramp ends above 0,
    the noise is added to another picture, and what is asked for changes from that one, where the ramp begins, to the
    caption's, where it ends: the more of a picture the noise has hidden, the more the prompt may change. That is where
    img2img begins, and where a sampler is that has drawn something amiss, neither of which a picture's own noise
    shows. Such samples have no less noise than their ramp begins with, and the error counts ``sigma**2`` times (under
    v-prediction: as that of the picture), without which the less noise the more it would weigh. Metrics then also give
    ``loss/restyled``, and the quarters leave it out.
    """
    table, steps = NoiseTable.of(schedule), len(schedule.alphas_cumprod)

    def loss(params, frozen, batch, key):
        unet, encoder = nnx.merge(graphdef, params), nnx.merge(text_graphdef, frozen)
        text = jax.lax.stop_gradient(encoder(batch["input_ids"]).last_hidden_state)
        latents = batch["latents"].astype(jnp.float32)
        start, ramp = batch.get("start"), batch.get("ramp", jnp.zeros((len(latents), 2)))
        errors, timesteps = errors_at_random(unet, table, latents, text, key, prediction_type, skew, start, ramp)
        restyled, bands = ramp[:, 1] > 0, timesteps * BANDS // steps
        errors *= jnp.where(restyled, jnp.square(table.sigma[timesteps]), 1)
        metrics = {f"loss/{i}": jnp.mean(errors, where=(bands == i) & ~restyled) for i in range(BANDS)}
        if start is not None:
            metrics["loss/restyled"] = jnp.mean(errors, where=restyled)
        return errors.mean(), metrics

    return loss


def caption_gap(
    unet: nnx.Module,
    table: NoiseTable,
    latents: Float[Array, "b h w c"],
    text: Float[Array, "b L d"],
    noise: Float[Array, "b h w c"],
    timestep: int,
    prediction_type: str,
) -> Float[Array, ""]:
    """Loss with each sample's caption swapped for its neighbour's, minus the loss with its own.

    Zero for a network that does not hear the prompt; it tells within minutes whether training will work.
    """
    t = jnp.full(len(latents), timestep)
    right = denoising_errors(unet, table, latents, text, t, noise, prediction_type)
    wrong = denoising_errors(unet, table, latents, jnp.roll(text, 1, 0), t, noise, prediction_type)
    return (wrong - right).mean()
