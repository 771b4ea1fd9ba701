"""CLIP directional similarity: whether a picture changed as its text did (Gal et al. 2108.00946)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_EPS = 1e-8


@jax.jit
def clip_direction(
    source: Float[Array, "b p"],
    output: Float[Array, "b p"],
    source_text: Float[Array, "b p"],
    text: Float[Array, "b p"],
) -> Float[Array, " b"]:
    """Cosine between the change of the picture and the change of its text: -1 to 1 (the same direction).

    As in InstructPix2Pix (Brooks et al. 2211.09800): features are brought to unit length before they are subtracted.
    It is 0 where nothing changed.
    """
    moved, meant = output - source, text - source_text
    lengths = [jnp.maximum(jnp.linalg.norm(change, axis=-1), _EPS) for change in (moved, meant)]
    return (moved * meant).sum(-1) / (lengths[0] * lengths[1])
