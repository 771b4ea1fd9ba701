"""Judges of what the model draws: CLIP for names, a linear classifier for styles, OKLab for colours."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image

from img2img_jax.checkpoints import load_component
from img2img_jax.data import colours
from img2img_jax.data.tokenizer import ClipTokenizer
from img2img_jax.models import CLIPModel


class ClipJudge:
    """Cosines between pictures and texts in the embedded CLIP."""

    def __init__(self, model: Path):
        clip = load_component(CLIPModel, model / "clip", dtype=jnp.float32)
        self.size = clip.config.vision_config.image_size
        graphdef, self.state = nnx.split(clip)
        self.tokenizer = ClipTokenizer.load(model / "tokenizer")
        self._pictures = jax.jit(lambda state, x: nnx.merge(graphdef, state).image_features(x))
        self._texts = jax.jit(lambda state, ids: nnx.merge(graphdef, state).text_features(ids))

    def pictures(self, images: np.ndarray) -> np.ndarray:
        """Unit features [B, p] of pictures, float in 0..1, [B,H,W,3]."""
        if images.shape[1] != self.size:
            resized = [Image.fromarray(np.uint8(x * 255 + 0.5)).resize((self.size,) * 2, Image.BICUBIC) for x in images]
            images = np.stack([np.asarray(x, np.float32) / 255 for x in resized])
        return np.concatenate([np.asarray(self._pictures(self.state, 2 * b - 1)) for b in _chunks(images)])

    def texts(self, captions: list[str]) -> np.ndarray:
        """Unit features [B, p] of captions."""
        return np.concatenate(
            [np.asarray(self._texts(self.state, b)) for b in _chunks(np.asarray(self.tokenizer(captions)))]
        )


def _chunks(values: np.ndarray, size: int = 64):
    """Pieces of at most ``size``."""
    return (values[i : i + size] for i in range(0, len(values), size))


@dataclasses.dataclass(frozen=True, kw_only=True)
class StyleJudge:
    """Ridge regression from CLIP picture features to one-hot styles, fitted on real pictures."""

    styles: tuple[str, ...]
    weights: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, labels: list[str], ridge: float = 1e-2) -> StyleJudge:
        styles = tuple(sorted(set(labels)))
        targets = np.asarray([[label == style for style in styles] for label in labels], np.float64)
        x = np.concatenate([features, np.ones((len(features), 1))], 1)
        return cls(
            styles=styles,
            weights=np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ (targets - targets.mean(0))),
        )

    def __call__(self, features: np.ndarray) -> list[str]:
        x = np.concatenate([features, np.ones((len(features), 1))], 1)
        return [self.styles[i] for i in (x @ self.weights).argmax(-1)]


def shows_colour(image: np.ndarray, word: str, tolerance: float = 25.0) -> bool:
    """Whether the main hue of the coloured area is within ``tolerance`` degrees (OKLab) of the word's.

    Args:
      image: uint8 [H,W,3]; a picture less than 2 % coloured shows no colour.
    """
    coloured = colours.chroma(colours.to_oklab(image)) >= 2 * colours.CHROMATIC
    if coloured.mean() < 0.02:
        return False
    found = colours.dominant(image, coloured).hue
    return found is not None and float(colours.hue_distance(found, colours.hue(colours.reference(word)))) <= tolerance
