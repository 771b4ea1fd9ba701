"""How much of the edges is kept, and how much is new."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from img2img_jax.metrics.distance_transform import distance_to

TOLERANCE = 0.008
"""Of where an edge lies, as a share of the picture's diagonal: that of the DAVIS benchmark's boundary measure."""


def diagonal(shape: tuple[int, ...]) -> float:
    """Length in pixels of the diagonal of pictures of shape [B,H,W,...]."""
    return (shape[1] ** 2 + shape[2] ** 2) ** 0.5


@partial(jax.jit, static_argnames="tolerance")
def edge_f1(
    source: Bool[Array, "b H W"], output: Bool[Array, "b H W"], *, tolerance: float = TOLERANCE
) -> Float[Array, " b"]:
    """Harmonic mean of the shares of edge pixels that have one of the other picture nearby: 0 to 1 (all kept).

    The boundary measure F of Perazzi et al. (CVPR 2016, sec. 4), without its matching of pixels one to one.

    Args:
      source, output: edges, as ``canny`` gives them. Two pictures without edges agree.
      tolerance: greatest distance, as a share of the diagonal, rounded up to whole pixels.
    """
    pixels = math.ceil(tolerance * diagonal(source.shape))
    recall = _share(source, distance_to(output) <= pixels)
    precision = _share(output, distance_to(source) <= pixels)
    total = precision + recall
    return jnp.where(total > 0, 2 * precision * recall / jnp.where(total > 0, total, 1), 0)


def _share(edges: Bool[Array, "b H W"], near: Bool[Array, "b H W"]) -> Float[Array, " b"]:
    """The share of ``edges`` that is ``near``; 1 if there are none."""
    count = edges.sum((1, 2))
    return jnp.where(count > 0, (edges & near).sum((1, 2)) / jnp.maximum(count, 1), 1.0)
