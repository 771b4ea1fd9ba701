"""Distillation of a latent consistency model (Luo et al. 2310.04378): a few steps in place of many.

The student learns the consistency function f(x_t, w) = x_0: where the teacher's path under guidance w ends that stands
at x_t. That end is computed, in a few DDIM steps of the teacher (as in Luhman & Luhman 2101.02388, but from anywhere on
the path), and not taken from the student one step further on. The latter costs a third of the evaluations, but the
errors of all steps add up: after 700 updates of the emoji model its pictures were covered in grain.
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
      original_inference_steps: times that are trained on; the LCM scheduler's setting of the same name.
      teacher_steps: from each of them to the picture.
      min_scale, max_scale: guidance scales drawn evenly in between and embedded.
      huber: errors well below it count squared, above it linearly.
    """

    original_inference_steps: int = 50
    teacher_steps: int = 4
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


def student_carried_over(
    student: UNet2DConditionModel, before: UNet2DConditionModel, teacher: UNet2DConditionModel
) -> UNet2DConditionModel:
    """The student of ``before``, moved by what ``teacher``, trained on from it, has learnt since.

    Weights are added and subtracted as task vectors are (Ilharco et al. 2212.04089): what distillation changed in the
    one suits the other, and far less of it remains to be done than from either's weights.
    """
    graphdef, state = nnx.split(student)
    old, new = (dict(nnx.to_flat_state(nnx.state(unet))) for unet in (before, teacher))
    moved = [
        (path, jax.tree.map(lambda s, b, t: s + (t - b), leaf, old[path], new[path]) if path in old else leaf)
        for path, leaf in nnx.to_flat_state(state)
    ]
    return nnx.merge(graphdef, nnx.from_flat_state(moved))


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

    def teacher_end(unet, x, timestep, states, empty, scale):
        """Where the teacher gets to from ``x`` at ``timestep`` in ``teacher_steps`` steps of about one length."""
        left = jnp.arange(config.teacher_steps, -1, -1)[:, None]
        times = (timestep + 1) * left // config.teacher_steps - 1

        def step(x, time):
            return teacher_step(unet, x, *time, states, empty, scale), None

        return jax.lax.scan(step, x, (times[:-1], times[1:]))[0]

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
        target = teacher_end(nnx.merge(teacher, teacher_params), x, timestep, states, empty, scale)
        said = jump(nnx.merge(student, params), x, timestep, states, guidance_embedding(scale, cond_dim))
        errors = pseudo_huber(said - jax.lax.stop_gradient(target), config.huber)
        return errors.mean(), {"distance_to_picture": jnp.square(said - latents).mean()}

    return loss
