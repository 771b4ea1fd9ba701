"""Initial weights do what they are for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from img2img_jax.models import CLIPConfig, CLIPModel
from img2img_jax.training.initial import heads_as_taps

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
