"""Winograd's convolution is the convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from img2img_jax.models import conv_cpu
from img2img_jax.models.conv import conv, convolve


def inputs(b, h, w, c, d):
    x, kernel = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate([(b, h, w, c), (3, 3, c, d)]))
    return x, kernel / (9 * c) ** 0.5


def direct(x, kernel):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=numbers)


def test_tile_by_definition():
    """Eq. 8 of Lavin & Gray for one tile, in float64 and without the loops."""
    a, g, b = (m.astype(np.float64) for m in conv_cpu._matrices())
    tile, taps = np.random.default_rng(0).normal(size=(6, 6)), np.random.default_rng(1).normal(size=(3, 3))
    wanted = [[(tile[i : i + 3, j : j + 3] * taps).sum() for j in range(4)] for i in range(4)]
    np.testing.assert_allclose(a @ ((g @ taps @ g.T) * (b @ tile @ b.T)) @ a.T, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("few", [0, 10**9], ids=["strips", "channels"])
def test_sizes_that_no_tile_divides(monkeypatch, few):
    monkeypatch.setattr(conv_cpu, "FEW_TILES", few)
    monkeypatch.setattr(conv_cpu, "STRIP_BYTES", 1)  # strips of one row of tiles
    monkeypatch.setattr(conv_cpu, "BLOCK_CHANNELS", 4)
    x, kernel = inputs(2, 9, 7, 6, 5)
    np.testing.assert_allclose(jax.jit(conv_cpu.winograd)(x, kernel), direct(x, kernel), atol=1e-5)


@pytest.mark.parametrize("height", [1, 3, 4, 8, 13, 29])
@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_strips_that_no_height_divides(monkeypatch, height, rows):
    """The first and the last strip reach beyond the picture, by as much as the heights make them."""
    x, kernel = inputs(2, height, 6, 3, 2)
    monkeypatch.setattr(conv_cpu, "FEW_TILES", 0)
    monkeypatch.setattr(conv_cpu, "STRIP_BYTES", rows * 2 * 36 * 3 * 4)
    np.testing.assert_allclose(jax.jit(conv_cpu.winograd)(x, kernel), direct(x, kernel), atol=1e-5)


@pytest.mark.parametrize("few", [0, 10**9], ids=["strips", "channels"])
def test_more_layers_need_no_more_memory(monkeypatch, few):
    """What depends on weights alone is not made for all layers before the first."""
    monkeypatch.setattr(conv_cpu, "FEW_TILES", few)
    monkeypatch.setattr(conv_cpu, "STRIP_BYTES", 1)
    monkeypatch.setattr(conv_cpu, "BLOCK_CHANNELS", 8)
    x, kernel = inputs(1, 32, 32, 32, 32)

    def needed(layers):
        def through(x, kernels):
            for kernel in kernels:
                x = jax.nn.silu(conv_cpu.winograd(x, kernel))
            return x

        return temporaries(through, x, [kernel] * layers)

    assert needed(8) < 1.1 * needed(4)


def temporaries(function, *args):
    return jax.jit(function).lower(*args).compile().memory_analysis().temp_size_in_bytes


def test_many_channels_keep_float32_precision():
    x, kernel = inputs(2, 16, 16, 192, 96)
    found, wanted = jax.jit(conv_cpu.winograd)(x, kernel), direct(x, kernel)
    assert jnp.abs(found - wanted).max() < 1e-5 * jnp.abs(wanted).max()


def test_pixels_by_their_neighbourhoods(monkeypatch):
    x, kernel = inputs(2, 3, 5, 6, 4)
    np.testing.assert_allclose(conv_cpu.by_pixels(x, kernel), direct(x, kernel), atol=1e-5)
    assert conv_cpu.faster_way(x, kernel) is None
    monkeypatch.setattr(conv_cpu, "LEAST_WEIGHTS", 6 * 4)
    assert conv_cpu.faster_way(x, kernel) is conv_cpu.by_pixels


@pytest.fixture
def light(monkeypatch):
    """Thresholds at which networks of a test's size take it."""
    monkeypatch.setattr(conv_cpu, "LEAST_CHANNELS", 8)
    monkeypatch.setattr(conv_cpu, "LEAST_WORK", 2 * 128 * 9 * 8 * 8)


def is_winograd(function, *args):
    return "while" in jax.jit(function).lower(*args).as_text()


def plain(x, kernel, stride=1, pad=1):
    numbers = lax.conv_dimension_numbers(x.shape, kernel.shape, ("NHWC", "HWIO", "NHWC"))
    return convolve(x, kernel, (stride, stride), ((pad, pad), (pad, pad)), dimension_numbers=numbers)


def test_taken_on_a_cpu_for_the_shapes_it_suits_alone(light, monkeypatch):
    x, kernel = inputs(1, 16, 8, 8, 8)
    assert is_winograd(plain, x, kernel)
    with monkeypatch.context() as narrower:
        narrower.setattr(conv_cpu, "LEAST_WORK", 0)
        assert not is_winograd(plain, x[:, :8], kernel), "few tiles"
        assert not is_winograd(plain, x[..., :4], kernel[:, :, :4]), "few channels"
    assert not is_winograd(plain, x[:, :12], kernel), "little work"
    assert not is_winograd(lambda x, k: plain(x, k, stride=2), x, kernel)
    assert not is_winograd(lambda x, k: plain(x, k, pad=0), x, kernel)
    assert not is_winograd(plain, x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    assert "while" not in jax.jit(plain).trace(x, kernel).lower(lowering_platforms=("tpu",)).as_text()


def test_layers_take_it(light):
    layer = conv(8, 8, dtype=jnp.float32, param_dtype=jnp.float32, rngs=nnx.Rngs(0))
    assert is_winograd(layer, jnp.zeros((1, 16, 8, 8)))


def test_training_is_direct_and_its_derivatives_exact(light):
    x, kernel = inputs(1, 16, 8, 8, 8)

    def loss(convolution, x, kernel):
        return jnp.square(convolution(x, kernel)).mean()

    found = jax.value_and_grad(loss, argnums=(1, 2))(plain, x, kernel)
    wanted = jax.value_and_grad(loss, argnums=(1, 2))(direct, x, kernel)
    jax.tree.map(lambda f, w: np.testing.assert_allclose(f, w, rtol=1e-5, atol=1e-7), found, wanted)
    assert not is_winograd(lambda x, k: jax.grad(loss, argnums=1)(plain, x, k), x, kernel)


def test_frozen_weights_cost_no_convolution(light):
    x, kernel = inputs(1, 16, 8, 8, 8)
    jaxpr = str(jax.make_jaxpr(jax.grad(lambda x: plain(x, kernel).sum()))(x))
    assert jaxpr.count("conv_general_dilated[") == str(
        jax.make_jaxpr(jax.grad(lambda x: direct(x, kernel).sum()))(x)
    ).count("conv_general_dilated[")
