"""One picture that the engine is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from img2img_jax.pipeline import STRENGTH


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """The arguments of the pipeline's call, for one sample, with its defaults.

    Attributes:
      image: a path, a PIL image or an array [H,W,3] (uint8, or float in 0..1). Equal pictures are encoded once, however
        many jobs hold them.
      conditions: arguments of the call that only some families take, such as ``prompt_2`` and ``original_size``.
      height, width, resize, background: see ``img2img_jax.images.prepare``.
    """

    prompt: str | None
    image: Any
    strength: float = STRENGTH
    num_inference_steps: int = 50
    guidance_scale: float = 7.5
    negative_prompt: str | None = None
    seed: int = 0
    scheduler: str | None = None
    strength_mode: str = "truncate"
    noise_at_one: str = "pure"
    eta: float = 0.0
    guidance_rescale: float = 0.0
    prompt_syntax: str = "plain"
    clip_skip: int = 0
    conditions: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    height: int | None = None
    width: int | None = None
    resize: str = "crop"
    background: str = "white"
