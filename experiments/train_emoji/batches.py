"""Training batches of emoji art: functions of the step number, so that a resumed run sees what it would have seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from img2img_jax.data.augment import Augmentation
from img2img_jax.data.captions import caption
from img2img_jax.data.emoji import STYLES, EmojiSet

Drawn = tuple[np.ndarray, list[str]]


def augmented(emoji: EmojiSet, index: int, rng: np.random.Generator) -> tuple[np.ndarray, str | None]:
    """One picture of the set, changed at random, uint8 [H,W,3], and its colour word if it was recoloured."""
    return Augmentation()(np.asarray(emoji.images[index]), emoji.records[index], rng)


def pictures_at(emoji: EmojiSet, *, batch_size: int, num_concepts: int = 0, seed: int = 0) -> Callable[[int], Drawn]:
    """A function from step to ``(uint8 [B,H,W,3], captions)``: random training pictures, augmented, captioned."""
    chosen = emoji.select(split="train", num_concepts=num_concepts or None)

    def draw(step: int) -> Drawn:
        rng = np.random.default_rng((seed, step))
        images, captions = [], []
        for index in rng.choice(chosen, batch_size, replace=batch_size > len(chosen)):
            image, colour = augmented(emoji, index, rng)
            images.append(image)
            captions.append(caption(emoji.records[index], rng, colour=colour))
        return np.stack(images), captions

    return draw


def spread(items: Sequence, count: int) -> np.ndarray:
    """``count`` of the items, evenly over all of them, the first and the last included."""
    return np.asarray(items)[np.linspace(0, len(items) - 1, count).astype(int)]


def held_out(emoji: EmojiSet, split: str, count: int) -> np.ndarray:
    """Indices of ``count`` pictures of a held-out split, spread evenly over it; training styles only."""
    chosen = np.asarray([i for i in emoji.select(split=split) if emoji.records[i].style in STYLES])
    return spread(chosen, min(count, len(chosen)))


def load_emoji(folder: str | None, resolution: int) -> EmojiSet:
    """The set at ``resolution`` px, averaged down from the size it was rendered at.

    Raises:
      ValueError: the rendered size is no multiple of ``resolution``.
    """
    emoji = EmojiSet.load(folder)
    n, size = emoji.images.shape[:2]
    factor, rest = divmod(size, resolution)
    if rest:
        raise ValueError(f"resolution={resolution} does not divide the {size} px the emoji set was rendered at")
    if factor == 1:
        return emoji
    small = np.empty((n, resolution, resolution, 3), np.uint8)
    for first in range(0, n, 512):
        block = np.asarray(emoji.images[first : first + 512])
        means = block.reshape(len(block), resolution, factor, resolution, factor, 3).mean((2, 4))
        small[first : first + 512] = np.rint(means)
    return dataclasses.replace(emoji, images=small)
