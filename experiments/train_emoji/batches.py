"""Training batches of emoji art: functions of the step number, so that a resumed run sees what it would have seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from img2img_jax.data.augment import Augmentation, traced
from img2img_jax.data.captions import canonical, caption
from img2img_jax.data.emoji import LINE_DRAWING, STYLES, EmojiSet

Drawn = tuple[np.ndarray, list[str]]
AUGMENTATION = Augmentation()
CHOICES = 256
"""Captions that a CLIP chooses from when it is measured."""


def augmented(
    emoji: EmojiSet, index: int, rng: np.random.Generator, augmentation: Augmentation = AUGMENTATION
) -> tuple[np.ndarray, str | None]:
    """One picture of the set, changed at random, uint8 [H,W,3], and its colour word if it was recoloured."""
    return augmentation(np.asarray(emoji.images[index]), emoji.records[index], rng)


def pictures_at(
    emoji: EmojiSet,
    *,
    batch_size: int,
    num_concepts: int = 0,
    seed: int = 0,
    more_captions: int = 0,
    traced_share: float = 0.0,
    augmentation: Augmentation = AUGMENTATION,
) -> Callable[[int], Drawn]:
    """A function from step to ``(uint8 [B,H,W,3], captions)``: random training pictures, augmented, captioned.

    Args:
      more_captions: of other training pictures, behind those of the batch.
      traced_share: of the coloured pictures, which are shown and captioned as line drawings; not of concepts whose
        line drawing is held out.
    """
    chosen = emoji.select(split="train", num_concepts=num_concepts or None)
    kept = {record.concept for record in emoji.records if record.style == LINE_DRAWING and record.split != "train"}

    def draw(step: int) -> Drawn:
        rng = np.random.default_rng((seed, step))
        images, captions = [], []
        for index in rng.choice(chosen, batch_size, replace=batch_size > len(chosen)):
            record, (image, colour) = emoji.records[index], augmented(emoji, index, rng, augmentation)
            drawn = traced_share and rng.random() < traced_share and record.style != LINE_DRAWING
            if drawn and record.concept not in kept:
                record, image, colour = dataclasses.replace(record, style=LINE_DRAWING), traced(image), None
            images.append(image)
            captions.append(caption(record, rng, colour=colour))
        captions += [caption(emoji.records[index], rng) for index in rng.choice(chosen, more_captions)]
        return np.stack(images), captions

    return draw


def spread(items: Sequence, count: int) -> np.ndarray:
    """``count`` of the items, evenly over all of them, the first and the last included."""
    return np.asarray(items)[np.linspace(0, len(items) - 1, count).astype(int)]


def held_out(emoji: EmojiSet, split: str, count: int, styles: Sequence[str] = STYLES) -> np.ndarray:
    """Indices of ``count`` pictures of a held-out split, spread evenly over it; of ``styles`` only."""
    chosen = np.asarray([i for i in emoji.select(split=split) if emoji.records[i].style in styles])
    return spread(chosen, min(count, len(chosen)))


def captions_to_choose_from(emoji: EmojiSet, index: Sequence[int], count: int) -> tuple[list[str], np.ndarray]:
    """The plain captions of these pictures, and behind them others of the set, spread evenly: ``count`` different ones.

    Returns:
      The captions, and the place among them of each picture's own: two drawings of one thing have the same.
    """
    own = [canonical(emoji.records[i]) for i in index]
    choices = list(dict.fromkeys(own))
    others = {canonical(record): None for record in emoji.records if record.style in STYLES}
    choices += spread([text for text in others if text not in own], count - len(choices)).tolist()
    return choices, np.asarray([choices.index(text) for text in own])


def top1_of_captions(
    emoji: EmojiSet,
    split: str,
    pictures: Callable[[np.ndarray], np.ndarray],
    texts: Callable[[list[str]], np.ndarray],
    styles: Sequence[str] = STYLES,
) -> tuple[float, int]:
    """The share of the pictures of a held-out split that get the right one of ``CHOICES`` captions, and their number.

    Args:
      pictures: uint8 [n, H, W, 3] to unit features [n, p]; texts: captions to unit features [m, p].
      styles: of the pictures.
    """
    index = held_out(emoji, split, CHOICES, styles)
    captions, own = captions_to_choose_from(emoji, index, CHOICES)
    scores = np.asarray(pictures(np.asarray(emoji.images[index]))) @ np.asarray(texts(captions)).T
    return float((scores.argmax(-1) == own).mean()), len(index)


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
