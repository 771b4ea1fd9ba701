"""Latents of the training pictures, encoded once."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from batches import AUGMENTATION, augmented
from counterparts import NO_RAMP, Counterparts
from flax import nnx

from img2img_jax.checkpoints.atomic import replacing
from img2img_jax.data.captions import STYLE_RATE, caption
from img2img_jax.data.emoji import EmojiSet
from img2img_jax.data.tokenizer import ClipTokenizer
from img2img_jax.models import AutoencoderKL
from img2img_jax.training.latents import encode_pictures

RECOLOURED = dataclasses.replace(AUGMENTATION, recolour=0.5)


def weights_digest(module: nnx.Module) -> str:
    """A short name for a network's weights."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(nnx.state(module)):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()[:12]


class LatentCache:
    """Latents of every training picture in several augmented variants, encoded once and kept in a folder.

    Variant 0 is as drawn. In each of the others all pictures of one concept are mirrored and moved alike, so that one
    can be asked for from another; a line drawing keeps its black lines where the pictures are recoloured.

    Attributes:
      latents: float16 [variants, pictures, h, w, c]; colours: the recolouring of each, or None; index: into the set.
    """

    def __init__(self, folder: Path, emoji: EmojiSet, vae: AutoencoderKL, num_concepts: int, variants: int):
        self.emoji, self.index = emoji, emoji.select(split="train", num_concepts=num_concepts or None)
        # Named after what it was made from: another VAE, set or choice makes another cache.
        pictures = hashlib.sha256(repr(RECOLOURED).encode() + np.asarray(emoji.images[self.index]).tobytes())
        path = folder / f"latents_{weights_digest(vae)}_{pictures.hexdigest()[:12]}_{variants}.npz"
        if not path.exists():
            latents, colours = self._encode(vae, variants)
            with replacing(path) as file:
                np.savez(file, latents=latents, colours=colours)
        with np.load(path) as stored:
            self.latents, self.colours = stored["latents"], stored["colours"]

    def _encode(self, vae: AutoencoderKL, variants: int) -> tuple[np.ndarray, np.ndarray]:
        pictures, colours = [], []
        for variant in range(variants):
            for i in self.index:
                picture, colour = np.asarray(self.emoji.images[i]), None
                if variant:
                    rng = np.random.default_rng((variant, self.emoji.records[i].concept_rank))
                    picture, colour = augmented(self.emoji, i, rng, RECOLOURED)
                pictures.append(picture)
                colours.append(colour or "")
        latents = encode_pictures(vae, np.stack(pictures))
        shape = (variants, len(self.index))
        return latents.astype(np.float16).reshape(*shape, *latents.shape[1:]), np.asarray(colours).reshape(shape)

    def batches(
        self, tokenizer: ClipTokenizer, size: int, dropout: float, unchanged: float = 0.0, restyled: float = 0.0
    ) -> Callable[[int], dict[str, np.ndarray]]:
        """A function from step to ``latents`` and ``input_ids`` of random pictures, each style as often as the others.

        Args:
          dropout: share of the captions that is empty.
          unchanged: share of the pictures that is taken as drawn; the rest comes from all variants alike.
          restyled: share of the pictures that is asked for from the same thing in another style: ``start`` and
            ``ramp`` as ``diffusion_loss.loss_fn`` takes them. Their captions name the style.
        """
        records = [self.emoji.records[i] for i in self.index]
        styles = [record.style for record in records]
        # A concept has two line drawings and one picture in each other style.
        chance = 1 / np.asarray([styles.count(style) for style in styles]) / len(set(styles))
        counterparts = Counterparts(records)

        def batch_at(step: int) -> dict[str, np.ndarray]:
            draw = np.random.default_rng((1, step))
            variants = draw.integers(len(self.latents), size=size)
            pictures = draw.choice(len(self.index), size=size, p=chance)
            variants[draw.random(size) < unchanged] = 0
            other = np.arange(size) < round(restyled * size)
            captions = [
                caption(records[p], draw, colour=str(self.colours[v, p]) or None, style_rate=1 if o else STYLE_RATE)
                for v, p, o in zip(variants, pictures, other, strict=True)
            ]
            kept = (draw.random(size) >= dropout) | other
            ids = tokenizer([c if k else "" for c, k in zip(captions, kept, strict=True)])
            batch = {"latents": self.latents[variants, pictures], "input_ids": np.asarray(ids)}
            if not restyled:
                return batch
            begun = [counterparts.draw(p, draw) if o else (p, NO_RAMP) for p, o in zip(pictures, other, strict=True)]
            start, ramp = (np.asarray(column) for column in zip(*begun, strict=True))
            return batch | {"start": self.latents[variants, start], "ramp": np.float32(ramp)}

        return batch_at
