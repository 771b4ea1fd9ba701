"""CLIP-I and CLIP-T: how near a picture is to another picture, or to a text (Radford et al. 2103.00020)."""

from __future__ import annotations

import jax
from jaxtyping import Array, Float


@jax.jit
def clip_similarity(first: Float[Array, "b p"], second: Float[Array, "b p"]) -> Float[Array, " b"]:
    """Cosine of unit features: -1 to 1 (equal).

    Of two pictures it is CLIP-I, of a picture and its prompt CLIP-T. CLIPScore as torchmetrics and PIE-Bench print it
    is 100 times the latter, cut off at 0.
    """
    return (first * second).sum(-1)
