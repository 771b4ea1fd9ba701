"""Tiles that nobody sees: a large picture in tiles equals the whole one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from img2img_jax import programs
from img2img_jax.checkpoints import EMBEDDED_MODEL, load_component
from img2img_jax.models import AutoencoderKL, AutoencoderKLConfig, AutoencoderTiny, AutoencoderTinyConfig, vae_tiling
from img2img_jax.models.vae_tiling import TileRow, check_tile_size
from img2img_jax.testing.tiny import random_model

TILE = 128  # pixels, of the embedded VAE's tiles below


@given(st.integers(1, 200), st.integers(1, 5), st.integers(0, 30))
def test_tiles_cover_everything_once_with_full_margins(length, halo, more):
    size = 2 * halo + 1 + more
    row = TileRow.cover(length, size, halo)
    assert row.size <= size and row.edges[0] == 0 and row.edges[-1] == length
    for place, (start, (begin, end)) in enumerate(zip(row.starts, row.kept(), strict=True)):
        assert 0 <= start and start + row.size <= length and begin < end
        assert begin >= halo or (place == 0 and start + begin == 0)
        assert row.size - end >= halo or start + end == length


def test_tiles_are_no_larger_than_they_must_be():
    assert TileRow.cover(128, 64, 7).size == 52  # three of 64 would overlap by far more than their margins
    assert TileRow.cover(60, 64, 7) == TileRow(size=60, starts=(0,), edges=(0, 60))


@pytest.fixture(scope="module")
def vae():
    return load_component(AutoencoderKL, EMBEDDED_MODEL / "vae")


@pytest.fixture(scope="module")
def picture():
    """[1, 240, 320, 3] in -1..1: drawings, a blank half, and a ramp, so that no two tiles have like statistics."""
    demo = EMBEDDED_MODEL.with_name("demo")
    tiles = [Image.open(demo / f"{name}.png").convert("RGB").resize((80, 80)) for name in ("drawing", "picture")]
    ramp = np.broadcast_to(np.linspace(-1, 1, 160, dtype=np.float32)[:, None, None], (160, 160, 3))
    drawn = np.concatenate([np.asarray(tile, np.float32) / 127.5 - 1 for tile in tiles], axis=1)
    blank = np.full((80, 160, 3), 0.9, np.float32)
    left, right = np.concatenate([drawn, ramp]), np.concatenate([blank, drawn[:, ::-1], -drawn])
    return np.concatenate([left, right], axis=1)[None]


@pytest.fixture(scope="module")
def whole(vae, picture):
    """Latents and picture made at once."""
    mean, logvar = jax.jit(vae.encode)(picture)
    return mean, logvar, np.asarray(jax.jit(vae.decode)(mean))


def in_tiles(vae):
    encode = jax.jit(lambda x: vae_tiling.tiled_encode(vae, x, TILE))
    return encode, jax.jit(lambda z: vae_tiling.tiled_decode(vae, z, TILE))


def error(found, wanted):
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


class TestEmbeddedModel:
    def test_encode(self, vae, picture, whole):
        """The encoder has four norms above the latents: after four rounds all statistics are exact."""
        mean, logvar = in_tiles(vae)[0](picture)
        print(f"relative error {error(mean, whole[0]):.1e}")
        assert error(mean, whole[0]) < 1e-5
        assert error(logvar, whole[1]) < 1e-5

    def test_decode_has_no_visible_edge(self, vae, whole):
        """Steps across the edges of tiles, against the whole picture's, are no larger than elsewhere."""
        latents, _, wanted = whole
        difference = 127.5 * (np.asarray(in_tiles(vae)[1](latents)) - wanted)  # of 255
        print(f"error {np.abs(difference).mean():.2f} of 255 on average, {np.abs(difference).max():.2f} at most")
        assert np.abs(difference).mean() < 0.5 and np.abs(difference).max() < 2
        for axis in (1, 2):
            row = TileRow.cover(latents.shape[axis], TILE // 4, vae.halo)
            steps = np.abs(np.diff(difference, axis=axis)).mean(axis=(0, 3 - axis, 3))
            edges = 4 * np.asarray(row.edges[1:-1])
            assert len(edges) >= 2
            elsewhere = np.delete(steps, edges - 1)
            print(f"steps at edges {steps[edges - 1]}, elsewhere {elsewhere.mean():.3f} to {elsewhere.max():.3f}")
            assert (steps[edges - 1] < elsewhere.max()).all()
            assert steps[edges - 1].mean() < 2 * elsewhere.mean()


def test_takes_less_memory():
    """As compiled: without attention, whose blocks of queries bound its memory with tiles or without."""
    config = AutoencoderKLConfig(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        mid_block_add_attention=False,
    )
    graphdef, state = nnx.split(random_model(AutoencoderKL, config, np.random.default_rng(0)))
    images, latents = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, 512, 512, 3), (1, 256, 256, 4)))
    keys = jax.random.split(jax.random.key(0), 1)

    def needed(program, *arguments, tile_size):
        compiled = program.lower(graphdef, state, *arguments, tile_size=tile_size).compile()
        return compiled.memory_analysis().temp_size_in_bytes / 2**20

    for program, arguments in ((programs.encode, (images, keys, None)), (programs.decode, (latents,))):
        before, after = (needed(program, *arguments, tile_size=size) for size in (None, TILE))
        print(f"{program.__name__}: {before:.0f} MiB whole, {after:.0f} MiB in tiles")
        assert after < 0.6 * before


def test_margins_are_as_wide_as_the_layers_see(vae):
    """The halo is no guess: a change of the whole picture beyond it leaves the middle as it is, one within does not."""

    class Fixed:
        def __call__(self, norm, x):
            return jnp.zeros((1, x.shape[-1])), jnp.ones((1, x.shape[-1]))

    graphdef, state = nnx.split(vae)
    halo, side = vae.halo, 2 * vae.halo + 3
    features = jax.random.normal(jax.random.key(0), (1, side, side, 96))

    @jax.jit
    def middle(x):
        module = nnx.merge(graphdef, state)
        for _, norm in nnx.iter_modules(module):
            if isinstance(norm, vae_tiling.GroupNorm):
                norm.statistics = Fixed()
        return module.decode_fine(x)[:, 4 * (halo + 1) : 4 * (halo + 2), 4 * (halo + 1) : 4 * (halo + 2)]

    base = middle(features)
    np.testing.assert_array_equal(middle(features.at[:, 0].add(1)), base)
    assert np.abs(middle(features.at[:, 1].add(1)) - base).max() > 0


def test_tiny_autoencoder_has_no_norms_and_is_exact():
    config = AutoencoderTinyConfig(
        encoder_block_out_channels=(4, 4, 4),
        decoder_block_out_channels=(4, 4, 4),
        num_encoder_blocks=(1, 2, 1),
        num_decoder_blocks=(2, 1, 1),
    )
    model = random_model(AutoencoderTiny, config, np.random.default_rng(0))
    pixels = jax.random.uniform(jax.random.key(0), (2, 120, 88, 3), minval=-1)
    latents, _ = jax.jit(model.encode)(pixels)
    found, _ = jax.jit(lambda x: vae_tiling.tiled_encode(model, x, 64))(pixels)
    np.testing.assert_allclose(found, latents, rtol=1e-5, atol=1e-5)
    decoded = jax.jit(lambda z: vae_tiling.tiled_decode(model, z, 64))(latents)
    np.testing.assert_allclose(decoded, jax.jit(model.decode)(latents), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tile_size", [35, 0, 100.5, "big"])
def test_tiles_too_small_for_their_margins(vae, tile_size):
    with pytest.raises(ValueError, match=f"vae_tile_size={tile_size!r} .*at least 36 pixels.*144"):
        check_tile_size(vae, tile_size)
    check_tile_size(vae, 36)
