"""Metrics of a part of the picture, as PIE-Bench takes them (Ju et al. 2310.01506)."""

from __future__ import annotations

import jax
from jaxtyping import Array, Float

from img2img_jax.types import UnitImage


@jax.jit
def masked(images: UnitImage, mask: Float[Array, "b H W"]) -> UnitImage:
    """Pictures with everything blackened where ``mask`` is 0.

    PIE-Bench's masked metrics compare such pictures whole: pixels outside count as equal, not as absent. For its
    background metrics, mask source and output by 1 minus the mask of the edit.
    """
    return images * mask[..., None]
