"""Distillation: the student starts as its teacher, and learns where the teacher's path ends."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from img2img_jax.diffusion.schedule import NoiseSchedule
from img2img_jax.models.layers import guidance_embedding
from img2img_jax.testing.tiny import SCHEDULER_CONFIG, tiny_pipeline
from img2img_jax.training.consistency_loss import (
    ConsistencyConfig,
    loss_fn,
    pseudo_huber,
    student_carried_over,
    student_of,
)

COND = 8
PIPE = tiny_pipeline()
RNG = np.random.default_rng(0)
LATENTS = RNG.normal(size=(4, 8, 8, 4)).astype(np.float32)
IDS = RNG.integers(0, 40, (4, PIPE.text_encoder.config.max_position_embeddings))


def test_student_starts_as_its_teacher_at_every_scale():
    states = jnp.asarray(RNG.normal(size=(4, 5, PIPE.unet.config.cross_attention_dim)), jnp.float32)
    times = jnp.asarray([1.0, 300.0, 700.0, 999.0])
    student = student_of(PIPE.unet, COND)
    said = student(LATENTS, times, states, guidance_embedding(jnp.asarray([1.0, 2.0, 5.0, 9.0]), COND))
    np.testing.assert_allclose(said, PIPE.unet(LATENTS, times, states), atol=1e-5)


def test_a_student_carried_over_keeps_what_it_learnt_and_gets_what_its_teacher_learnt():
    def moved(unet, by):
        graphdef, state = nnx.split(unet)
        return nnx.merge(graphdef, jax.tree.map(lambda leaf: leaf + by, state))

    student = moved(student_of(PIPE.unet, COND), 0.5)
    found = student_carried_over(student, PIPE.unet, moved(PIPE.unet, 0.25))
    for (path, before), (_, after) in zip(
        nnx.to_flat_state(nnx.state(student)), nnx.to_flat_state(nnx.state(found)), strict=True
    ):
        by = 0.0 if "cond_proj" in path else 0.25
        np.testing.assert_allclose(after[...], before[...] + by, atol=1e-6, err_msg=str(path))


def test_pseudo_huber_is_square_when_small_and_absolute_when_large():
    small, large = jnp.full((1, 1, 1, 1), 1e-3), jnp.full((1, 1, 1, 1), 50.0)
    np.testing.assert_allclose(pseudo_huber(small, 0.1), small[0, 0, 0] ** 2 / 0.2, rtol=1e-3)
    np.testing.assert_allclose(pseudo_huber(large, 0.1), 49.9, rtol=1e-4)


def distillation(config):
    """The loss, the student's parameters before any update, and what is frozen."""
    schedule = NoiseSchedule.from_config(SCHEDULER_CONFIG | {"rescale_betas_zero_snr": True})
    graphdef, params = nnx.split(student_of(PIPE.unet, COND))
    teacher, text = nnx.split(PIPE.unet), nnx.split(PIPE.text_encoder)
    loss = loss_fn(graphdef, teacher[0], text[0], schedule, "v_prediction", config, COND)
    return loss, params, (teacher[1], text[1], IDS[0])


@pytest.fixture(scope="module")
def parts():
    loss, *rest = distillation(ConsistencyConfig(original_inference_steps=25))
    return jax.jit(jax.value_and_grad(loss, has_aux=True)), *rest


@pytest.mark.parametrize("steps", [1, 3])
def test_a_teacher_of_one_step_without_guidance_says_what_its_copy_says(steps):
    config = ConsistencyConfig(original_inference_steps=25, teacher_steps=steps, min_scale=1.0, max_scale=1.0)
    loss, params, frozen = distillation(config)
    value, _ = jax.jit(loss)(params, frozen, {"latents": LATENTS, "input_ids": IDS}, jax.random.key(2))
    assert value < 1e-8 if steps == 1 else value > 1e-4


def test_training_brings_the_student_to_that_end_and_leaves_the_teacher_alone(parts):
    loss, params, frozen = parts
    before = jax.tree.map(np.array, frozen)
    batch = {"latents": LATENTS, "input_ids": IDS}
    optimizer = optax.adam(1e-3)
    state, values = optimizer.init(params), []
    for _ in range(40):
        # The same samples and noise each time: agreement on them must come.
        (value, metrics), grads = loss(params, frozen, batch, jax.random.key(0))
        updates, state = optimizer.update(grads, state)
        params = optax.apply_updates(params, updates)
        values.append(float(value))
    assert np.isfinite([*values, float(metrics["distance_to_picture"])]).all()
    assert values[-1] < 0.5 * values[0]
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.asarray, frozen))


def test_gradient_reaches_the_guidance_embedding(parts):
    loss, params, frozen = parts
    _, grads = loss(params, frozen, {"latents": LATENTS, "input_ids": IDS}, jax.random.key(1))
    assert jnp.abs(grads["time_embedding"]["cond_proj"]["kernel"][...]).max() > 0
