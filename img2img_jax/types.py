"""Array types by the names the project speaks of them: shape, range, units."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

Image: TypeAlias = Float[Array, "b H W 3"]
"""Pictures as the networks see them: NHWC, sRGB values scaled to [-1, 1]."""

Latents: TypeAlias = Float[Array, "b h w c"]
"""The VAE's latents, scaled by its ``scaling_factor`` so that they have about unit variance."""

TokenIds: TypeAlias = Int[Array, "b L"]
"""Tokenised prompts, padded to the text encoder's length."""

TextStates: TypeAlias = Float[Array, "b L d"]
"""Hidden states of the text encoder, one vector per token."""


class AddedConditions(NamedTuple):
    """What SDXL's UNet is told besides texts and time (Podell et al. 2307.01952, sec. 2.2)."""

    text_embeds: Float[Array, "b p"]
    """Pooled and projected, one vector per prompt."""
    time_ids: Float[Array, "b n"]
    """Sizes in pixels, and an aesthetic score where the network takes one (see ``micro_conditioning``)."""


DType: TypeAlias = DTypeLike
"""Anything JAX takes for a dtype: ``jnp.bfloat16``, ``"float32"``, ..."""
