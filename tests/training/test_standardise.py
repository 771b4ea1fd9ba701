"""Folding standardisation into weights changes the latents and states as told, and the pictures not at all."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from img2img_jax.models import AutoencoderKL
from img2img_jax.testing.tiny import random_images, tiny_pipeline
from img2img_jax.training.standardise import standardise_latents, standardise_text_states

PIPE = tiny_pipeline()


def test_latents():
    vae = nnx.clone(PIPE.vae)
    images = 2 * random_images(2) - 1
    mean, std = jnp.asarray([0.3, -1.0, 0.0, 2.0]), jnp.asarray([0.5, 2.0, 1.0, 3.0])
    (z, logvar), picture = vae.encode(images), vae.decode(vae.encode(images)[0])
    standardise_latents(vae, mean, std)
    new_z, new_logvar = vae.encode(images)
    np.testing.assert_allclose(new_z, (z - mean) / std, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(jnp.exp(new_logvar), jnp.exp(logvar) / std**2, rtol=1e-4)
    np.testing.assert_allclose(vae.decode(new_z), picture, rtol=1e-3, atol=1e-4)


def test_latents_need_the_quant_convolutions():
    config = dataclasses.replace(PIPE.vae.config, use_quant_conv=False)
    vae = nnx.eval_shape(lambda: AutoencoderKL(config, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="use_quant_conv"):
        standardise_latents(vae, jnp.zeros(4), jnp.ones(4))


def test_text_states():
    encoder, ids = nnx.clone(PIPE.text_encoder), jax.random.randint(jax.random.key(0), (3, 16), 0, 60)
    before = encoder(ids).last_hidden_state
    mean, std = before.mean((0, 1)), before.std((0, 1))
    standardise_text_states(encoder, mean, std)
    np.testing.assert_allclose(encoder(ids).last_hidden_state, (before - mean) / std, rtol=1e-3, atol=1e-4)
