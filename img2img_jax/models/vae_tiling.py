"""Large pictures through a VAE, tile by tile, without seams.

A VAE's layers at the resolution of its latents are small and run whole; among them is the attention, which looks
everywhere. The layers above run in tiles. Two things make a tile's pixels differ from the whole picture's, and both are
removed here:

- Its border. Every tile is computed with a margin (`halo`) as wide as the layers' reach, and the margin is cut off.
- Its statistics. GroupNorm takes mean and variance over the picture. So all tiles use the same ones: measured on the
  tiles, pooled, and given to all. The first round measures tiles that are normalised each by itself; every further
  round measures with what the last one found, and is exact at least one norm deeper.

What is left is the error of the statistics, and it is the same in all tiles: there is no edge to be seen.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from img2img_jax.models.autoencoder_kl import AutoencoderKL
from img2img_jax.models.autoencoder_tiny import AutoencoderTiny
from img2img_jax.models.layers import GroupNorm
from img2img_jax.types import Image, Latents

ROUNDS = 4
"""Rounds that measure statistics before the one that makes the picture; docs/large_images.md has errors and costs."""

Moments: TypeAlias = tuple[Float[Array, "... b c"], Float[Array, "... b c"]]
"""Mean and variance of the groups, as every channel sees them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TileRow:
    """Tiles along one axis, in latents.

    Attributes:
      size: of every tile, margins included.
      starts: where each begins.
      edges: where the part that is kept of each begins, and the end of the last.
    """

    size: int
    starts: tuple[int, ...]
    edges: tuple[int, ...]

    @classmethod
    def cover(cls, length: int, size: int, halo: int) -> TileRow:
        """As few tiles of at most `size` as cover `length`, of one size, as small as that allows."""
        if length <= size:
            return cls(size=length, starts=(0,), edges=(0, length))
        count = math.ceil((length - 2 * halo) / (size - 2 * halo))
        size = math.ceil((length + 2 * halo * (count - 1)) / count)
        starts = tuple(min(i * (size - 2 * halo), length - size) for i in range(count))
        return cls(size=size, starts=starts, edges=(0, *(start + halo for start in starts[1:]), length))

    def kept(self) -> list[tuple[int, int]]:
        """What is kept of each tile: begin and end within the tile."""
        return [(a - s, b - s) for s, (a, b) in zip(self.starts, itertools.pairwise(self.edges), strict=True)]


def check_tile_size(vae: AutoencoderKL | AutoencoderTiny, tile_size: int | None) -> None:
    """Raises ValueError for a `tile_size` (pixels a side) that leaves nothing between its margins; None: no tiles."""
    if tile_size is None:
        return
    factor = vae.downscale_factor
    least = (2 * vae.halo + 1) * factor
    if not isinstance(tile_size, int | np.integer) or tile_size < least:
        raise ValueError(
            f"vae_tile_size={tile_size!r} is not a whole number of at least {least} pixels, as this VAE's margins of "
            f"{vae.halo * factor} need; {4 * least} wastes little, None switches tiling off"
        )


def tiled_encode(vae: AutoencoderKL | AutoencoderTiny, images: Image, tile_size: int) -> tuple[Latents, Latents | None]:
    """As `vae.encode`, in tiles of at most `tile_size` pixels along a side, margins included."""
    return vae.encode_coarse(_in_tiles(vae, "encode_fine", images, tile_size))


def tiled_decode(vae: AutoencoderKL | AutoencoderTiny, latents: Latents, tile_size: int) -> Image:
    """As `vae.decode`, in tiles of at most `tile_size` pixels along a side, margins included."""
    return _in_tiles(vae, "decode_fine", vae.decode_coarse(latents), tile_size)


def _in_tiles(vae: AutoencoderKL | AutoencoderTiny, method: str, x: Array, tile_size: int) -> Array:
    """A method of the VAE that maps [b, h, w, c] locally, apart from its norms."""
    check_tile_size(vae, tile_size)
    factor = vae.downscale_factor
    unit, unit_out = (factor, 1) if method == "encode_fine" else (1, factor)
    rows, columns = (TileRow.cover(n // unit, tile_size // factor, vae.halo) for n in x.shape[1:3])
    graphdef, state = nnx.split(vae)

    def one_tile(given: list[Moments], own: bool | Array, tile: Array) -> tuple[Array, list[Moments]]:
        (top, left), kept = tile[:2] * unit, tile[2:].reshape(2, 2)
        patch = jax.lax.dynamic_slice(
            x, (0, top, left, 0), (len(x), rows.size * unit, columns.size * unit, x.shape[-1])
        )
        module, statistics = nnx.merge(graphdef, state), _TileStatistics(given, own, kept, (rows.size, columns.size))
        for _, norm in nnx.iter_modules(module):
            if isinstance(norm, GroupNorm):
                norm.statistics = statistics
        return getattr(module, method)(patch), statistics.seen

    tiles = np.asarray(
        [
            (*starts, *itertools.chain(*kept))
            for starts, kept in zip(
                itertools.product(rows.starts, columns.starts),
                itertools.product(rows.kept(), columns.kept()),
                strict=True,
            )
        ]
    )
    area = np.float32((tiles[:, 3] - tiles[:, 2]) * (tiles[:, 5] - tiles[:, 4]))

    def measured(own: bool | Array, given: list[Moments]) -> list[Moments]:
        seen = jax.lax.map(lambda tile: one_tile(given, own, tile)[1], tiles)
        return [_pooled(moments, area / area.sum()) for moments in seen]

    nothing = jax.tree.map(jnp.zeros_like, jax.eval_shape(lambda: one_tile([], True, tiles[0])[1]))
    given = jax.lax.fori_loop(0, ROUNDS, lambda turn, given: measured(turn == 0, given), nothing)
    return _joined(jax.lax.map(lambda tile: one_tile(given, False, tile)[0], tiles), rows, columns, unit_out)


class _TileStatistics:
    """What norms take: the `given` statistics, in the order of the calls, or a tile's `own`; those `seen` are kept.

    Only pixels between `kept` (begins and ends along both axes, in latents) are measured, so that every pixel of the
    picture counts once.
    """

    def __init__(self, given: list[Moments], own: bool | Array, kept: Array, size: tuple[int, int]):
        self.given, self.own, self.kept, self.size, self.seen = given, own, kept, size, []

    def __call__(self, norm: GroupNorm, x: Float[Array, "b h w c"]) -> Moments:
        place = len(self.seen)
        masks = [self._mask(n, size, ends) for n, size, ends in zip(x.shape[1:3], self.size, self.kept, strict=True)]
        self.seen.append(norm.measure(x, masks[0][:, None] * masks[1]))
        if self.own is True:
            return self.seen[place]
        return jax.tree.map(partial(jnp.where, self.own), self.seen[place], self.given[place])

    @staticmethod
    def _mask(pixels: int, size: int, ends: Array) -> Float[Array, " pixels"]:
        position = (jnp.arange(pixels) + 0.5) * (size / pixels)
        return (position > ends[0]) & (position < ends[1])


def _pooled(moments: Moments, share: Float[np.ndarray, " tiles"]) -> Moments:
    """Mean and variance over all tiles, from those of each and its share of the pixels."""
    means, variances = moments
    mean = jnp.tensordot(share, means, 1)
    return mean, jnp.tensordot(share, variances + jnp.square(means - mean), 1)


def _joined(tiles: Float[Array, "tiles b h w c"], rows: TileRow, columns: TileRow, unit: int) -> Array:
    """The parts that are kept, side by side."""
    places = iter(tiles)
    return jnp.concatenate(
        [
            jnp.concatenate(
                [
                    next(places)[:, unit * top : unit * bottom, unit * left : unit * right]
                    for left, right in columns.kept()
                ],
                axis=2,
            )
            for top, bottom in rows.kept()
        ],
        axis=1,
    )
