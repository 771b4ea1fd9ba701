"""The three losses: zero where they must be, lower for better, and telling of what they are for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from img2img_jax.diffusion.schedule import NoiseSchedule
from img2img_jax.models import CLIPConfig, CLIPModel
from img2img_jax.testing.tiny import SCHEDULER_CONFIG, random_images, tiny_pipeline
from img2img_jax.training import clip_loss, vae_loss
from img2img_jax.training.diffusion_loss import (
    BANDS,
    NoiseTable,
    along,
    caption_gap,
    denoising_errors,
    draw_timesteps,
    errors_at_random,
    loss_fn,
)

IMAGES = 2 * random_images(4) - 1
LOSS = vae_loss.VAELossConfig()


def test_reconstruction_is_zero_only_for_the_picture_itself():
    assert vae_loss.reconstruction_loss(IMAGES, IMAGES, LOSS) == 0
    assert vae_loss.reconstruction_loss(IMAGES * 0.9, IMAGES, LOSS) > 0


def test_gradient_term_sees_blur_and_chroma_term_sees_grey():
    blurred = (IMAGES + jnp.roll(IMAGES, 1, 1)) / 2
    shifted = IMAGES + jnp.abs(blurred - IMAGES).mean()  # as far away in L1, edges intact
    edges = vae_loss.VAELossConfig(gradient=1.0, chroma=0.0)
    assert vae_loss.reconstruction_loss(blurred, IMAGES, edges) > vae_loss.reconstruction_loss(shifted, IMAGES, edges)
    grey = jnp.broadcast_to(IMAGES.mean(-1, keepdims=True), IMAGES.shape)
    with_chroma, without = (vae_loss.VAELossConfig(gradient=0.0, chroma=c) for c in (1.0, 0.0))
    values = [vae_loss.reconstruction_loss(grey, IMAGES, config) for config in (with_chroma, without)]
    assert values[0] > values[1]


def test_kl_is_that_of_gaussians():
    mean, logvar = jnp.full((1, 2, 2, 1), 0.7), jnp.full((1, 2, 2, 1), -0.4)
    z = 0.7 + np.exp(-0.2) * np.random.default_rng(0).normal(size=200_000)
    log_ratio = -0.5 * ((z - 0.7) ** 2 / np.exp(-0.4) - 0.4) + 0.5 * z**2
    np.testing.assert_allclose(vae_loss.kl_divergence(mean, logvar), log_ratio.mean(), atol=5e-3)


def test_psnr_of_a_known_error():
    np.testing.assert_allclose(vae_loss.psnr(jnp.zeros((1, 4, 4, 3)), jnp.full((1, 4, 4, 3), 0.2)), 20.0, rtol=1e-5)


def tower(**more):
    return dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, **more)


def tiny_clip():
    config = dict(
        projection_dim=8,
        text_config=tower(vocab_size=20, max_position_embeddings=6, eos_token_id=19),
        vision_config=tower(image_size=16, patch_size=8),
    )
    return CLIPModel(CLIPConfig.from_dict(config), rngs=nnx.Rngs(0))


@pytest.mark.parametrize("kept_share", [1.0, 0.5])
@pytest.mark.parametrize("captions", [4, 7])
def test_clip_loss_falls_when_pairs_match(captions, kept_share):
    ids = jnp.asarray([[i, i + 4, 19, 19, 19, 19] for i in range(captions)])
    graphdef, params, rest = nnx.split(tiny_clip(), nnx.Param, ...)
    loss = jax.jit(jax.value_and_grad(clip_loss.loss_fn(graphdef, kept_share=kept_share), has_aux=True))
    batch = {"images": np.uint8((np.asarray(IMAGES) + 1) * 127.5), "input_ids": ids}
    (first, _), _ = loss(params, rest, batch, jax.random.key(0))
    for step in range(100):
        (value, metrics), grads = loss(params, rest, batch, jax.random.key(step))
        params = jax.tree.map(lambda p, g: p - 0.05 * g, params, grads)
    assert first > (np.log(captions) + np.log(4)) / 2 * 0.7
    assert value < 0.5 * first
    assert metrics["top1"] == 1


def test_a_vision_tower_that_keeps_all_patches_sees_the_picture():
    model, order = tiny_clip(), jnp.asarray([[2, 0, 3, 1]] * 4)
    whole, shuffled = model.image_features(IMAGES), model.image_features(IMAGES, order)
    np.testing.assert_allclose(shuffled, whole, atol=1e-5)
    assert np.abs(model.image_features(IMAGES, order[:, :2]) - whole).max() > 1e-3


def test_patches_are_drawn_without_repeats_and_sooner_where_something_is():
    blank = jnp.ones((64, 16, 16, 3)).at[:, :8].set(jax.random.uniform(jax.random.key(1), (64, 8, 16, 3)))
    kept = np.asarray(clip_loss.patches_at_random(jax.random.key(0), blank, 4, 0.5))
    assert kept.shape == (64, 8)
    assert all(len(set(row)) == 8 for row in kept)
    assert len({tuple(row) for row in kept}) > 60, "drawn anew for every picture"
    assert 0.6 < (kept < 8).mean() < 0.9, "the upper half has something on it"


def test_denoising_loss_of_a_perfect_and_of_a_deaf_network():
    schedule = NoiseSchedule.from_config(SCHEDULER_CONFIG)
    table, latents = NoiseTable.of(schedule), jax.random.normal(jax.random.key(0), (4, 8, 8, 4))
    noise, text = jax.random.normal(jax.random.key(1), latents.shape), jnp.arange(4.0)[:, None, None]
    times = jnp.asarray([10, 300, 700, 990])

    def knows(x, t, text):
        return noise

    errors = denoising_errors(knows, table, latents, text, times, noise, "epsilon")
    np.testing.assert_array_equal(errors, 0)
    gap = caption_gap(knows, table, latents, text, noise, 500, "epsilon")
    assert gap == 0, "a network that does not read the caption has no gap"

    def reads(x, t, text):
        return noise + (text - jnp.arange(4.0)[:, None, None])[..., None]

    assert caption_gap(reads, table, latents, text, noise, 500, "epsilon") > 0.5


def test_diffusion_loss_reports_every_band():
    pipe = tiny_pipeline()
    (graphdef, params), (text_graphdef, text_params) = nnx.split(pipe.unet), nnx.split(pipe.text_encoder)
    loss = jax.jit(loss_fn(graphdef, text_graphdef, NoiseSchedule.from_config(SCHEDULER_CONFIG), "epsilon"))
    batch = {"latents": np.zeros((8, 8, 8, 4), np.float16), "input_ids": np.zeros((8, 16), np.int32)}
    value, metrics = loss(params, text_params, batch, jax.random.key(0))
    bands = [float(metrics[f"loss/{i}"]) for i in range(BANDS)]
    assert np.isfinite(bands).all(), "stratified times reach every quarter with eight samples"
    np.testing.assert_allclose(np.mean(bands), value, rtol=1e-4)


def test_timesteps_are_spread_over_the_axis_and_over_the_places_of_a_batch():
    draws = np.stack([draw_timesteps(jax.random.key(seed), 8, 1000) for seed in range(64)])
    np.testing.assert_array_equal(np.sort(draws, 1) // 125, np.tile(np.arange(8), (64, 1)))
    assert (np.abs(draws.mean(0) - 500) < 150).all(), "no place is always early or always late"


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_picture_asked_for_from_another_is_the_target(prediction_type):
    """A network that names the caption's picture, whatever it is shown, is right from any start."""
    table = NoiseTable.of(NoiseSchedule.from_config(SCHEDULER_CONFIG))
    latents, start, noise = jax.random.normal(jax.random.key(0), (3, 4, 8, 8, 4))
    times = jnp.asarray([100, 300, 700, 990])
    alpha, sigma = (row[times][:, None, None, None] for row in (table.alpha, table.sigma))

    def names_it(x, t, text):
        implied = (x - alpha * latents) / sigma
        return implied if prediction_type == "epsilon" else alpha * implied - sigma * latents

    def errors(start):
        return denoising_errors(names_it, table, latents, None, times, noise, prediction_type, start)

    np.testing.assert_allclose(errors(start), 0, atol=1e-8)
    np.testing.assert_allclose(errors(latents), errors(None), atol=1e-8)


def test_pictures_asked_for_from_others_keep_to_their_times_and_are_logged_apart():
    pipe = tiny_pipeline()
    (graphdef, params), (text_graphdef, text_params) = nnx.split(pipe.unet), nnx.split(pipe.text_encoder)
    schedule, latents = NoiseSchedule.from_config(SCHEDULER_CONFIG), np.zeros((8, 8, 8, 4), np.float16)
    ramp = np.float32([(0.6, 0.8)] * 4 + [(0.0, 0.0)] * 4)
    times = np.stack(
        [
            errors_at_random(
                lambda x, t, text: x, NoiseTable.of(schedule), jnp.asarray(latents), None, jax.random.key(seed),
                "epsilon", ramp=ramp,
            )[1]
            for seed in range(16)
        ]
    )  # fmt: skip
    assert times[:, :4].min() >= 600
    assert times[:, 4:].min() < 100
    assert times.max() < 1000
    loss = jax.jit(loss_fn(graphdef, text_graphdef, schedule, "epsilon"))
    batch = {"latents": latents, "input_ids": np.zeros((8, 16), np.int32)}
    key = jax.random.key(0)
    plain, metrics = loss(params, text_params, batch | {"start": latents, "ramp": np.zeros((8, 2), np.float32)}, key)
    np.testing.assert_allclose(plain, loss(params, text_params, batch, key)[0], rtol=1e-6)
    assert np.isnan(metrics["loss/restyled"])
    shift = np.float16([1] * 4 + [0] * 4)[:, None, None, None]
    (_, own), (_, other) = (
        loss(params, text_params, batch | {"start": start, "ramp": ramp}, key) for start in (latents, latents + shift)
    )
    assert own.pop("loss/restyled") != other.pop("loss/restyled")
    jax.tree.map(np.testing.assert_array_equal, own, other)


def test_along_a_ramp_one_picture_becomes_the_other():
    """The start before it, the caption's picture after it, shares of both between; a network that knows so is right."""
    places, ramp = jnp.linspace(0, 1, 11), jnp.tile(jnp.asarray([0.2, 0.7]), (11, 1))
    shares = along(ramp, places)
    np.testing.assert_allclose(shares, np.clip((np.linspace(0, 1, 11) - 0.2) / 0.5, 0, 1), atol=1e-6)
    table = NoiseTable.of(NoiseSchedule.from_config(SCHEDULER_CONFIG))
    latents, start = jax.random.normal(jax.random.key(0), (2, 11, 8, 8, 4))

    def knows(x, t, text):
        alpha, sigma = (row[t.astype(int)][:, None, None, None] for row in (table.alpha, table.sigma))
        change = along(ramp, t / len(table.alpha))[:, None, None, None]
        return (x - alpha * (start * (1 - change) + latents * change)) / sigma

    def errors(start):
        return errors_at_random(knows, table, latents, None, jax.random.key(1), "epsilon", start=start, ramp=ramp)

    np.testing.assert_allclose(errors(start)[0], 0, atol=1e-6)
    assert (errors(latents)[0] > 1e-3).any()


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_targets_follow_the_prediction_type(prediction_type):
    schedule = NoiseSchedule.from_config(SCHEDULER_CONFIG)
    table = NoiseTable.of(schedule)
    latents, noise = jnp.full((1, 2, 2, 1), 2.0), jnp.full((1, 2, 2, 1), -1.0)
    alpha, sigma = table.alpha[400], table.sigma[400]
    wanted = {"epsilon": -1.0, "sample": 2.0, "v_prediction": alpha * -1.0 - sigma * 2.0}[prediction_type]
    errors = denoising_errors(
        lambda x, t, text: jnp.full_like(x, wanted), table, latents, None, jnp.asarray([400]), noise, prediction_type
    )
    np.testing.assert_allclose(errors, 0, atol=1e-10)
