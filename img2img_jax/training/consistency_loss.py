"""Latent consistency distillation (Luo et al. 2310.04378): a few steps in place of many.

The student learns f(x_t, w) = x_0, the same wherever on the teacher's guided path it stands: what it says at t must be
what it says one teacher step closer to the picture. The target is the student itself without gradient (Song & Dhariwal
2310.14189 show that averaging it only biases the result).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from img2img_jax.diffusion.forward import add_noise
from img2img_jax.diffusion.guidance import guide
from img2img_jax.diffusion.prediction import to_epsilon, to_x0
from img2img_jax.diffusion.schedule import NoiseSchedule
from img2img_jax.models import UNet2DConditionModel
from img2img_jax.models.layers import guidance_embedding
from img2img_jax.training.diffusion_loss import NoiseTable


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConsistencyConfig:
    """What the student is distilled for.

    Attributes:
      original_inference_steps: teacher steps on the time axis; the LCM scheduler's setting of the same name.
      min_scale, max_scale: guidance scales drawn evenly in between and embedded.
      huber: errors well below it count squared, above it linearly.
    """

    original_inference_steps: int = 50
    min_scale: float = 2.0
    max_scale: float = 8.0
    huber: float = 0.03


def student_of(teacher: UNet2DConditionModel, cond_dim: int) -> UNet2DConditionModel:
    """A copy of ``teacher`` with a guidance embedding ``cond_dim`` wide, of weight 0: at first it answers alike."""
    config = dataclasses.replace(teacher.config, time_cond_proj_dim=cond_dim)
    graphdef, shapes = nnx.split(nnx.eval_shape(lambda: UNet2DConditionModel(config, rngs=nnx.Rngs(0))))
    known = dict(nnx.to_flat_state(nnx.state(teacher)))
    weights = [
        (path, known[path] if path in known else jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), leaf))
        for path, leaf in nnx.to_flat_state(shapes)
    ]
    return nnx.merge(graphdef, nnx.from_flat_state(weights))


def pseudo_huber(error: Float[Array, "b h w c"], width: float) -> Float[Array, " b"]:
    """sqrt(error^2 + width^2) - width, mean over all but the first axis (2310.14189, eq. 7, per element)."""
    return (jnp.sqrt(jnp.square(error) + width**2) - width).mean((1, 2, 3))


def loss_fn(
    student: nnx.GraphDef,
    teacher: nnx.GraphDef,
    text: nnx.GraphDef,
    schedule: NoiseSchedule,
    prediction_type: str,
    config: ConsistencyConfig,
    cond_dim: int,
):
    """The loss in the form ``fit`` takes.

    Batches hold ``latents`` [B,h,w,c] and ``input_ids`` [B,L]; ``frozen`` is the pair of the teacher's and the text
    encoder's parameters with the token ids of the empty prompt [L].

    Args:
      cond_dim: width of the student's guidance embedding (``time_cond_proj_dim``).
    """
    table, steps = NoiseTable.of(schedule), len(schedule.alphas_cumprod)
    stride = steps // config.original_inference_steps

    def level(timestep):
        """alpha and sigma at integer timesteps; -1 is the clean end."""
        clean, at = timestep < 0, jnp.maximum(timestep, 0)
        return jnp.where(clean, 1.0, table.alpha[at]), jnp.where(clean, 0.0, table.sigma[at])

    def jump(unet, x, timestep, states, condition):
        output = unet(x, timestep.astype(jnp.float32), states, condition)
        return to_x0(prediction_type, x, output, *level(timestep))

    def teacher_step(unet, x, timestep, target, states, empty, scale):
        """One guided DDIM step (Song et al. 2010.02502) from ``timestep`` to ``target``."""
        both = unet(
            jnp.tile(x, (2, 1, 1, 1)), jnp.tile(timestep, 2).astype(jnp.float32), jnp.concatenate([empty, states])
        )
        output = guide(*jnp.split(both, 2), scale)
        x0, noise = (f(prediction_type, x, output, *level(timestep)) for f in (to_x0, to_epsilon))
        return add_noise(x0, noise, *level(target))

    def loss(params, frozen, batch, key):
        teacher_params, text_params, empty_ids = frozen
        latents = batch["latents"].astype(jnp.float32)
        time_key, noise_key, scale_key = jax.random.split(key, 3)
        count = len(latents)
        index = jax.random.randint(time_key, (count,), 1, config.original_inference_steps + 1)
        timestep = index * stride - 1
        scale = jax.random.uniform(scale_key, (count,), minval=config.min_scale, maxval=config.max_scale)
        x = add_noise(latents, jax.random.normal(noise_key, latents.shape), *level(timestep))

        encoder = nnx.merge(text, text_params)
        ids = jnp.concatenate([batch["input_ids"], empty_ids[None]])
        states = encoder(ids).last_hidden_state
        states, empty = states[:-1], jnp.broadcast_to(states[-1:], states[:-1].shape)
        closer = teacher_step(nnx.merge(teacher, teacher_params), x, timestep, timestep - stride, states, empty, scale)

        condition = guidance_embedding(scale, cond_dim)
        said = jump(nnx.merge(student, params), x, timestep, states, condition)
        target_params = jax.lax.stop_gradient(params)
        arrived = (timestep - stride < 0)[:, None, None, None]
        target = jump(nnx.merge(student, target_params), closer, jnp.maximum(timestep - stride, 0), states, condition)
        target = jax.lax.stop_gradient(jnp.where(arrived, closer, target))
        errors = pseudo_huber(said - target, config.huber)
        return errors.mean(), {"distance_to_picture": jnp.square(said - latents).mean()}

    return loss
