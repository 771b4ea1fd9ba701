"""How far edges have moved."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from img2img_jax.metrics.distance_transform import distance_to
from img2img_jax.metrics.edge_f1 import diagonal


@jax.jit
def edge_distance(source: Bool[Array, "b H W"], output: Bool[Array, "b H W"]) -> Float[Array, " b"]:
    """Symmetric chamfer distance of edges (Barrow et al., IJCAI 1977): 0 (equal) to 1.

    The mean distance of one picture's edge pixels to the nearest edge of the other, averaged over both directions,
    as a share of the diagonal. Two pictures without edges are 0 apart; if only one has edges, the distance is 1.

    Args:
      source, output: edges, as ``canny`` gives them.
    """
    there, back = _mean_distance(source, output), _mean_distance(output, source)
    return (there + back) / 2 / diagonal(source.shape)


def _mean_distance(edges: Bool[Array, "b H W"], others: Bool[Array, "b H W"]) -> Float[Array, " b"]:
    """Mean over ``edges`` of the pixels to the nearest of ``others``; see above for empty ones."""
    total = jnp.where(edges, distance_to(others), 0).sum((1, 2))
    mean = total / jnp.maximum(edges.sum((1, 2)), 1)
    one_is_empty = edges.any((1, 2)) != others.any((1, 2))
    return jnp.where(one_is_empty, diagonal(edges.shape), mean)
