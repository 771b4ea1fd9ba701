"""What the trials of a run have in common, computed once: pictures encoded, prompts read."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from img2img_jax import images
from img2img_jax.diffusion.strength import ResolvedStart
from img2img_jax.pipeline import Img2ImgPipeline


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SharedOutput:
    """As ``Img2ImgOutput`` with PIL pictures, and ``source_latents`` [B,h,w,c], what the inputs were encoded to."""

    images: list[Image.Image]
    latents: np.ndarray
    source_latents: np.ndarray
    strength: list[ResolvedStart]


class SharedEncodings:
    """A pipeline for ``run`` and ``verify`` that encodes each picture, and reads each prompt, once in its life.

    Pictures are encoded one at a time, and so are prompts read: what comes out cannot depend on which others are
    wanted, and a resumed run has the bits of an undisturbed one. Kept are a posterior for each picture (latents twice)
    and the text states for each prompt, in host memory. Prompts of a syntax other than "plain" have states of many
    lengths, and are read once a batch.
    """

    def __init__(self, pipe: Img2ImgPipeline):
        self._pipe = pipe
        self._posteriors: dict[Any, Any] = {}
        self._texts: dict[Any, dict[str, np.ndarray]] = {}

    @property
    def folder(self) -> Path:
        return self._pipe.folder

    @property
    def vae_scale_factor(self) -> int:
        return self._pipe.vae_scale_factor

    @property
    def native_size(self) -> int:
        return self._pipe.native_size

    def __call__(
        self,
        prompt: Sequence[str],
        image: np.ndarray,
        *,
        seed: Sequence[int],
        output_type: str = "pil",
        vae_tile_size: int | None = None,
        **settings: Any,
    ) -> SharedOutput:
        """As a call of the pipeline with a prompt, a picture (uint8 [B,H,W,3]) and a seed per sample.

        Raises:
          ValueError: as that call does; another ``output_type`` than "pil".
        """
        if output_type != "pil":
            raise ValueError(f"output_type={output_type!r} is not made here; take 'pil', or call the pipeline itself")
        source = self.encode(image, seed, vae_tile_size=vae_tile_size)
        texts: Sequence[str] | None = prompt
        if settings.get("prompt_syntax", "plain") == "plain":
            texts, settings = None, self._read(prompt, **settings)
        out = self._pipe(texts, source, seed=seed, output_type="np", vae_tile_size=vae_tile_size, **settings)
        # Strength 0 is the input itself, which the pipeline does not see here.
        untouched = np.asarray([start.strength == 0 for start in out.strength])[:, None, None, None]
        pictures = np.where(untouched, images.as_unit(image), out.images)
        return SharedOutput(
            images=images.to_pil(pictures), latents=out.latents, source_latents=source, strength=out.strength
        )

    def encode(self, image: np.ndarray, seed: Sequence[int], *, vae_tile_size: int | None = None) -> np.ndarray:
        """Scaled latents, float32 [B,h,w,c], of a picture and a seed per sample."""
        rows = [self._posterior(pixels, vae_tile_size) for pixels in image]
        return self._pipe.draw(jax.tree.map(lambda *leaves: np.concatenate(leaves), *rows), seed)

    def round_trip(self, image: np.ndarray, seed: Sequence[int], *, vae_tile_size: int | None = None) -> np.ndarray:
        """What the VAE alone makes of pictures, float32 [B,H,W,3] in 0..1."""
        latents = self.encode(image, seed, vae_tile_size=vae_tile_size)
        return self._pipe.decode(latents, vae_tile_size=vae_tile_size)

    def _posterior(self, pixels: np.ndarray, tile_size: int | None) -> Any:
        key = pixels.shape, hashlib.sha256(pixels.tobytes()).digest(), tile_size
        if key not in self._posteriors:
            self._posteriors[key] = self._pipe.posterior(pixels[None], vae_tile_size=tile_size)
        return self._posteriors[key]

    def _read(
        self,
        prompt: Sequence[str],
        *,
        negative_prompt: str | Sequence[str] | None = None,
        clip_skip: int = 0,
        prompt_syntax: str = "plain",
        **settings: Any,
    ) -> dict[str, Any]:
        """The settings of a call, with text states in place of the texts and of how they are read."""
        single = isinstance(negative_prompt, str | None)
        negatives = [negative_prompt] * len(prompt) if single else negative_prompt
        rows = [self._text(*pair, clip_skip) for pair in zip(prompt, negatives, strict=True)]
        return settings | {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _text(self, prompt: str, negative: str | None, clip_skip: int) -> dict[str, np.ndarray]:
        key = prompt, negative, clip_skip
        if key not in self._texts:
            self._texts[key] = self._pipe.encode_prompt(prompt, negative, clip_skip=clip_skip)
        return self._texts[key]
