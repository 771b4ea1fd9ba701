"""3x3 convolution on a CPU: Winograd's minimal filtering, F(4x4, 3x3), takes a quarter of the multiplications.

Lavin & Gray, 1509.09308: Y = A^T [(G w G^T) * (B^T x B)] A for tiles of 6x6 pixels that overlap by two. The sum over
channels turns the product into 36 matrix products. The interpolation points are 0, +-3/4, +-3/2 and infinity instead
of that paper's 0, +-1, +-2: the error in float32 is a third of theirs (Barabasz et al. 1803.10986 search such points).

What is transformed is as little as fits into the cache, in one of two loops:

- over strips of the picture, where there are many pixels to a weight. The weights are transformed once before.
- over blocks of input channels, where there are many weights to a pixel. Each block of weights is transformed on the
  way, for every call anew: less work than reading transformed ones, four times as large, back from memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

SIZE = 4
"""Output pixels along a side of a tile."""

POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)

LEAST_CHANNELS, LEAST_TILES, LEAST_WORK = 128, 8, 2**31
"""From here on it is faster than the direct way. Work: the direct way's floating-point operations.

With less work the loops and transforms cost more than the products save: in the embedded model, whose convolutions
have 0.1e9 operations, an evaluation of the UNet took 1.7 times as long.
"""

LEAST_WEIGHTS = 2**19
"""Per tap: with so many weights and fewer than ``LEAST_TILES`` tiles, one large product is the fastest way."""

FEW_TILES = 128
"""Up to here weights are the larger part, and are worked on in blocks of ``BLOCK_CHANNELS`` input channels at most."""

BLOCK_CHANNELS = 64
STRIP_BYTES = 6 * 2**20
"""Of transformed pixels in a strip."""


def _matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A^T [4, 6], G [6, 3] and B^T [6, 6] of Toom and Cook's construction for ``POINTS`` and infinity."""
    points, taps = np.asarray(POINTS), SIZE + 2
    evaluate = np.vander(points, SIZE, increasing=True).T
    others = [np.delete(points, i) for i in range(len(points))]
    scale = np.asarray([np.prod(p - rest) for p, rest in zip(points, others, strict=True)])
    a = np.concatenate([evaluate, np.eye(SIZE)[:, -1:]], axis=1)
    g = np.concatenate([np.vander(points, 3, increasing=True) / scale[:, None], np.eye(3)[-1:]])
    b = np.stack([np.pad(np.poly(roots)[::-1], (0, taps - len(roots) - 1)) for roots in (*others, points)])
    return tuple(matrix.astype(np.float32) for matrix in (a, g, b))


A, G, B = _matrices()
G_TWICE = np.kron(G, G)
"""G along both axes of the taps at once."""


def tiles(x: Float[Array, "b h w c"]) -> int:
    """How many tiles cover the pixels of a batch."""
    b, h, w, _ = x.shape
    return b * -(-h // SIZE) * -(-w // SIZE)


def faster_way(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]) -> Callable[[Array, Array], Array] | None:
    """``winograd``, ``by_pixels``, or None where the direct way is the fastest for these shapes."""
    if x.dtype != jnp.float32:
        return None
    if tiles(x) < LEAST_TILES:
        return by_pixels if math.prod(kernel.shape[2:]) >= LEAST_WEIGHTS else None
    work = 2 * math.prod(x.shape[:3]) * math.prod(kernel.shape)
    return winograd if min(kernel.shape[2:]) >= LEAST_CHANNELS and work >= LEAST_WORK else None


def by_pixels(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "b h w d"]:
    """The same convolution as one product of each pixel's neighbourhood with all weights (im2col)."""
    b, h, w, c = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    around = jnp.concatenate([padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=-1)
    return (around.reshape(-1, 9 * c) @ kernel.reshape(9 * c, -1)).reshape(b, h, w, -1)


def winograd(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "b h w d"]:
    """The 3x3 convolution of stride 1 and padding 1."""
    return _by_channels(x, kernel) if tiles(x) <= FEW_TILES else _by_strips(x, kernel)


def _by_channels(x: Array, kernel: Array) -> Array:
    b, h, w, c = x.shape
    pixels = _transformed_pixels(_padded(x))
    flat, tiled = pixels.reshape(36, -1, c), pixels.shape[:5]
    block = next(size for size in range(min(c, BLOCK_CHANNELS), 0, -1) if c % size == 0)

    def add(total: Array, start: Array) -> tuple[Array, None]:
        weights = _transformed_weights(lax.dynamic_slice_in_dim(kernel, start, block, axis=2))
        return total + _products(lax.dynamic_slice_in_dim(flat, start, block, axis=2), weights), None

    total = jnp.full((*flat.shape[:2], kernel.shape[-1]), _zero(after=x))
    total, _ = lax.scan(add, total, jnp.arange(0, c, block))
    return _pixels_back(total.reshape(*tiled, -1))[:, :h, :w]


def _by_strips(x: Array, kernel: Array) -> Array:
    b, h, w, c = x.shape
    weights = lax.optimization_barrier(_transformed_weights(kernel, after=x))
    row_bytes = -(-w // SIZE) * 36 * c * x.dtype.itemsize
    rows = _rows_of_strip(-(-h // SIZE), STRIP_BYTES // row_bytes) * SIZE
    strips = -(-h // rows)

    def add(place: Array, out: Array) -> Array:
        pixels = _transformed_pixels(_with_border(x, place // strips, place % strips * rows, rows))
        products = _products(pixels.reshape(36, -1, c), weights)
        strip = _pixels_back(products.reshape(*pixels.shape[:5], -1))
        return lax.dynamic_update_slice_in_dim(out, strip, place, 0)

    empty = jnp.full((b * strips, rows, w + -w % SIZE, kernel.shape[-1]), _zero(after=x))
    out = lax.fori_loop(0, b * strips, add, empty)
    return out.reshape(b, strips * rows, *out.shape[2:])[:, :h, :w]


def _rows_of_strip(rows: int, most: int) -> int:
    """Of tiles: ``most``, or up to half as many if the strips then come out even."""
    most = max(1, min(rows, most))
    return next((size for size in range(most, most // 2, -1) if rows % size == 0), most)


def _with_border(x: Float[Array, "b h w c"], sample: Array, first: Array, rows: int) -> Float[Array, "1 rows+2 w+2 c"]:
    """A strip of one sample and the pixels around it, zeros outside of the picture.

    Cut from ``x`` as it is and padded then: a padded copy of a large picture would take as much memory again.
    """
    h, w = x.shape[1:3]
    height = min(rows + 2, h)
    start = jnp.clip(first - 1, 0, h - height)
    cut = lax.dynamic_slice(x, (sample, start, 0, 0), (1, height, *x.shape[2:]))
    # The first strip reaches a row above the picture, the last one below it by a row and what its height leaves over.
    padded = jnp.pad(cut, ((0, 0), (1, 1 + -h % rows), (1, 1 + -w % SIZE), (0, 0)))
    return lax.dynamic_slice_in_dim(padded, first - start, rows + 2, 1)


def _padded(x: Array) -> Array:
    """One pixel all around, and whole tiles below and to the right."""
    return jnp.pad(x, ((0, 0), *((1, 1 + -size % SIZE) for size in x.shape[1:3]), (0, 0)))


def _combined(matrix: np.ndarray, parts: list[Array], axis: int) -> Array:
    """The products of ``matrix`` with a vector of ``parts``, along a new ``axis``, written to memory.

    The barrier keeps XLA from computing one transform's every input anew for each output of the next.
    """
    shape = [1] * (parts[0].ndim + 1)
    shape[axis] = len(matrix)
    terms = [matrix[:, i].reshape(shape) * jnp.expand_dims(part, axis) for i, part in enumerate(parts)]
    return lax.optimization_barrier(sum(terms[1:], terms[0]))


def _transformed_pixels(x: Float[Array, "b 4h+2 4w+2 c"]) -> Float[Array, "6 6 b h w c"]:
    def every_fourth(x: Array, axis: int) -> list[Array]:
        last = x.shape[axis] - (SIZE + 2)
        return [lax.slice_in_dim(x, i, i + last + 1, SIZE, axis) for i in range(SIZE + 2)]

    return _combined(B, every_fourth(_combined(B, every_fourth(x, 1), 0), 3), 1)


def _transformed_weights(kernel: Float[Array, "3 3 c d"], after: Array | None = None) -> Float[Array, "36 c d"]:
    """Four times as large as the kernel; not transformed before ``after`` is there."""
    matrix = G_TWICE if after is None else G_TWICE + _zero(after)
    return (matrix @ kernel.reshape(9, -1)).reshape(36, *kernel.shape[2:])


def _zero(after: Array) -> Float[Array, ""]:
    """0, for what is not to be made before ``after`` is there.

    What depends on weights and constants alone the scheduler makes first, of all layers, and holds it. A barrier does
    not keep it from that: XLA drops them before it schedules.
    """
    return 0.0 * jnp.isnan(after.reshape(-1)[0]).astype(jnp.float32)


def _products(pixels: Float[Array, "36 n c"], weights: Float[Array, "36 c d"]) -> Float[Array, "36 n d"]:
    return jnp.einsum("tnc,tcd->tnd", pixels, weights)


def _pixels_back(products: Float[Array, "6 6 b h w d"]) -> Float[Array, "b 4h 4w d"]:
    products = lax.optimization_barrier(products)
    rows = _combined(A, list(products), 3)
    out = _combined(A, list(rows), 4)
    b, h, _, w, _, d = out.shape
    return out.reshape(b, h * SIZE, w * SIZE, d)
