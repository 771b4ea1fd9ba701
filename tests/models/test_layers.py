"""Layers against their definitions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from img2img_jax.models.attention import attention
from img2img_jax.models.layers import (
    Downsample2D,
    GroupNorm,
    activation,
    gelu,
    sinusoidal_embedding,
    upsample_nearest,
)

X = jax.random.normal(jax.random.key(0), (2, 5, 4, 8)) * 3 + 7


def test_group_norm_normalises_each_group_of_each_sample():
    y = np.asarray(GroupNorm(4, 8, 1e-6)(X)).reshape(2, -1, 4, 2)
    np.testing.assert_allclose(y.mean((1, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((1, 3)), 1, atol=1e-4)


def test_group_norm_keeps_the_dtype_and_computes_in_float32():
    far = (X * 1e-2 + 300).astype(jnp.bfloat16)
    y = GroupNorm(4, 8, 1e-6)(far)
    assert y.dtype == jnp.bfloat16
    exact = GroupNorm(4, 8, 1e-6)(far.astype(jnp.float32))
    np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=0.02)


def test_one_pass_measures_what_two_do():
    norm = GroupNorm(4, 8, 1e-6)
    for one, two in zip(norm.measure(X, one_pass=True), norm.measure(X), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5)


def test_float32_is_measured_in_two_passes():
    far = X[:1] + 1e4  # in one, the variance would be lost to rounding
    np.testing.assert_allclose(GroupNorm(4, 8, 1e-6)(far), GroupNorm(4, 8, 1e-6)(far - 1e4), atol=0.01)


def test_group_norm_needs_groups_that_divide():
    with pytest.raises(ValueError, match="norm_num_groups=3"):
        GroupNorm(3, 8, 1e-6)


def test_attention_is_a_weighted_mean_of_values():
    q, k = jnp.zeros((1, 3, 2, 4)), jax.random.normal(jax.random.key(1), (1, 5, 2, 4))
    v = jax.random.normal(jax.random.key(2), (1, 5, 2, 4))
    even = attention(q, k, v)
    np.testing.assert_allclose(even, jnp.broadcast_to(v.mean(1, keepdims=True), even.shape), rtol=1e-5)
    sharp = attention(1e4 * k[:, :3], k, v)
    chosen = jnp.take_along_axis(v, jnp.einsum("bnhd,bmhd->bnmh", k[:, :3], k).argmax(2)[:, :, :, None], 1)
    np.testing.assert_allclose(sharp, chosen, rtol=1e-5)
    blind = jnp.asarray([[0.0, -jnp.inf, -jnp.inf, -jnp.inf, -jnp.inf]] * 3)
    np.testing.assert_allclose(attention(k[:, :3], k, v, blind), jnp.broadcast_to(v[:, :1], even.shape), rtol=1e-6)


def test_downsampling_pads_as_its_original_does():
    x = jnp.zeros((1, 4, 4, 1)).at[0, 0, 0, 0].set(1.0)
    for padding, centre in ((1, (1, 1)), (0, (0, 0))):
        layer = Downsample2D(1, padding=padding, dtype=jnp.float32, param_dtype=jnp.float32, rngs=nnx.Rngs(0))
        layer.conv.kernel[...] = jnp.zeros((3, 3, 1, 1)).at[*centre].set(1.0)
        assert layer(x)[0, 0, 0, 0] == 1, f"padding {padding}: the first pixel meets tap {centre}"
        assert layer(x).shape == (1, 2, 2, 1)


def test_nearest_upsampling_doubles_and_reaches_odd_sizes():
    x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    np.testing.assert_array_equal(upsample_nearest(x, (4, 6)), jnp.repeat(jnp.repeat(x, 2, 1), 2, 2))
    np.testing.assert_array_equal(
        upsample_nearest(x, (3, 5))[0, :, :, 0], [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]
    )


def test_sinusoidal_embedding_against_its_formula():
    t, dim = jnp.asarray([0.0, 12.5, 999.0]), 6
    angle = np.asarray(t)[:, None] * 10000.0 ** (-np.arange(3) / 3)
    expected = np.concatenate([np.cos(angle), np.sin(angle)], -1)
    found = sinusoidal_embedding(t, dim, flip_sin_to_cos=True, downscale_freq_shift=0)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    swapped = sinusoidal_embedding(t, dim, flip_sin_to_cos=False, downscale_freq_shift=0)
    np.testing.assert_allclose(swapped, np.roll(expected, 3, -1), atol=1e-4)
    assert sinusoidal_embedding(t, 7, flip_sin_to_cos=True, downscale_freq_shift=1).shape == (3, 7)


def test_unknown_activation_is_named():
    with pytest.raises(ValueError, match="'selu'"):
        activation("selu")


def test_gelu_is_the_exact_one():
    x = np.linspace(-6, 6, 101, dtype=np.float32)
    exact = [value * 0.5 * math.erfc(-value / math.sqrt(2)) for value in x.tolist()]
    np.testing.assert_allclose(gelu(x), exact, atol=2e-6)
    coarse = gelu(jnp.asarray(x, jnp.bfloat16))
    assert coarse.dtype == jnp.bfloat16
    np.testing.assert_allclose(coarse.astype(jnp.float32), exact, atol=0.02)
