"""A batch of pictures beside what they were made from, and what metrics share of it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Array, Bool, Float, Shaped

from img2img_jax.metrics.canny import canny
from img2img_jax.metrics.masking import masked
from img2img_jax.types import Latents, UnitImage


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """What a metric is given. Edges and features are computed when the first metric asks for them, and kept.

    Attributes:
      source: the pictures that went in, or whatever the outputs are to be compared with.
      output: the pictures that came out.
      prompt: what the outputs should show, one text per sample.
      source_prompt: what the inputs show.
      source_latents, output_latents: in the model's scaled space.
      mask: 1 or True where the outputs were to change, 0 elsewhere.
      networks: by the names of ``Metric.network``.
    """

    source: UnitImage
    output: UnitImage
    prompt: Sequence[str] | None = None
    source_prompt: Sequence[str] | None = None
    source_latents: Latents | None = None
    output_latents: Latents | None = None
    mask: Shaped[Array, "b H W"] | None = None
    networks: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def source_edges(self) -> Bool[Array, "b H W"]:
        return canny(self.source)

    @functools.cached_property
    def output_edges(self) -> Bool[Array, "b H W"]:
        return canny(self.output)

    @functools.cached_property
    def source_features(self) -> Float[Array, "b p"]:
        return self.networks["clip"].pictures(self.source)

    @functools.cached_property
    def output_features(self) -> Float[Array, "b p"]:
        return self.networks["clip"].pictures(self.output)

    @functools.cached_property
    def source_background(self) -> UnitImage:
        return masked(self.source, 1 - self.mask)

    @functools.cached_property
    def output_background(self) -> UnitImage:
        return masked(self.output, 1 - self.mask)

    @functools.cached_property
    def edited_features(self) -> Float[Array, "b p"]:
        return self.networks["clip"].pictures(masked(self.output, self.mask))

    @functools.cached_property
    def prompt_features(self) -> Float[Array, "b p"]:
        return self.networks["clip"].texts(self.prompt)

    @functools.cached_property
    def source_prompt_features(self) -> Float[Array, "b p"]:
        return self.networks["clip"].texts(self.source_prompt)
