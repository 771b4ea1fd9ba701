"""Initial weights do what they are for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from img2img_jax.diffusion.schedule import NoiseSchedule
from img2img_jax.models import CLIPConfig, CLIPModel
from img2img_jax.testing.tiny import SCHEDULER_CONFIG, tiny_pipeline
from img2img_jax.training.initial import heads_as_taps, retime

SIDE, HEADS, WIDTH = 8, 9, 144


def vision_tower(**more):
    tower = dict(hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=3, num_attention_heads=HEADS) | more
    config = dict(projection_dim=8, vision_config=dict(image_size=32, patch_size=4, **tower), text_config=tower)
    return CLIPModel(CLIPConfig.from_dict(config), rngs=nnx.Rngs(0)).vision_model


def attention_from(layer, states, patch):
    """Where each head looks from a patch: weights [heads, patches]."""
    normed = layer.layer_norm1(states)
    queries, keys = (
        project(normed).reshape(-1, HEADS, WIDTH // HEADS)
        for project in (layer.self_attn.q_proj, layer.self_attn.k_proj)
    )
    scores = jnp.einsum("hd,khd->hk", queries[1 + patch], keys) / np.sqrt(WIDTH // HEADS)
    return jax.nn.softmax(scores, axis=-1)[:, 1:]


def test_every_head_begins_as_a_tap_of_a_convolution():
    tower = vision_tower()
    heads_as_taps(tower)
    states = tower.pre_layrnorm(tower.embeddings(jnp.ones((1, 32, 32, 3))))
    *early, last = tower.encoder.layers
    for layer in early:
        for row, column in ((3, 4), (5, 2)):
            weights = attention_from(layer, states, row * SIDE + column)
            found = np.asarray(weights.argmax(-1))
            moves = {(int(f) // SIDE - row, int(f) % SIDE - column) for f in found}
            assert moves == {(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)}
        states = layer(states, None)
    assert attention_from(last, states, 0).max() < 0.2, "the last layer gathers from everywhere"


def test_heads_that_cannot_hold_two_axes_are_refused():
    with pytest.raises(ValueError, match="hidden_size=90 .* width 10"):
        heads_as_taps(vision_tower(hidden_size=90))


def test_a_retimed_unet_says_at_a_level_of_noise_what_it_said_there():
    """Whatever timestep tells it of the level."""
    before = NoiseSchedule.from_config(SCHEDULER_CONFIG)
    other = dict(beta_schedule="linear", beta_start=2e-5, beta_end=5e-4, rescale_betas_zero_snr=True)
    after = NoiseSchedule.from_config(SCHEDULER_CONFIG | other)
    old, new = (tiny_pipeline(shallow=True).unet for _ in range(2))
    for unet in (old, new):
        # As in a trained network, times close by are much the same: the faster half of the waves is not listened to.
        kernel = unet.time_embedding.linear_1.kernel
        slow = np.tile(np.arange(len(kernel) // 2) >= len(kernel) // 4, 2)
        kernel[...] = kernel[...] * slow[:, None]
    times = np.asarray([20, 100, 300, 500, 700, 900])
    x, text = jax.random.normal(jax.random.key(0), (6, 8, 8, 4)), jax.random.normal(jax.random.key(1), (6, 16, 32))

    def said(unet, times):
        return np.asarray(unet(x, jnp.asarray(times, jnp.float32), text))

    wanted, at_first = said(old, before.timestep(after.noise_to_signal(times))), said(new, times)
    retime(new, before, before)
    np.testing.assert_allclose(said(new, times), at_first, atol=1e-6)
    retime(new, before, after)
    assert np.linalg.norm(said(new, times) - wanted) < 0.25 * np.linalg.norm(at_first - wanted)
