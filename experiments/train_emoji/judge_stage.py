"""The judge: a classifier of real pictures that the evaluation asks what the model drew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
import optax
from batches import augmented
from flax import nnx
from ml_collections import ConfigDict
from picture_judge import PictureClassifier, PictureJudge

from img2img_jax.checkpoints import write_json
from img2img_jax.data.augment import Augmentation
from img2img_jax.data.emoji import STYLES, EmojiSet
from img2img_jax.training import FitConfig, OptimizerConfig, fit
from img2img_jax.training.pixels import to_model

HELD_OUT = 16
AUGMENTATION = Augmentation(soften=0.5)
"""A judge that never saw a soft picture takes softness for a style."""


def pictures_of(emoji: EmojiSet) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the pictures in styles that are trained on, and of those among them kept for measuring the judge."""
    usable = np.asarray([i for i, record in enumerate(emoji.records) if record.style in STYLES])
    return usable, usable[usable % HELD_OUT == 0]


def judged_by(judge: PictureJudge, emoji: EmojiSet, shown: Callable[[np.ndarray], np.ndarray] = lambda x: x) -> dict:
    """How often the judge itself is right on real pictures it was not trained on, each style counting the same.

    Args:
      shown: what to make of uint8 pictures [n, H, W, 3] before the judge sees them.
    """
    _, test = pictures_of(emoji)
    found = [scores.argmax(-1) for scores in judge(shown(np.asarray(emoji.images[test])))]
    return shares_right(found, labels_of(emoji, judge.concepts)[test])


def labels_of(emoji: EmojiSet, concepts: Sequence[str]) -> np.ndarray:
    """Numbers of every picture's concept and style, int [n, 2]; -1 in styles that are not trained on."""
    number = {concept: k for k, concept in enumerate(concepts)}
    return np.asarray(
        [(number[r.concept], STYLES.index(r.style)) if r.style in STYLES else (-1, -1) for r in emoji.records]
    )


def shares_right(found: Sequence[np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """Of the concepts and styles found, against int [n, 2]: the share that is right, averaged over the styles."""
    right = np.stack(found, axis=-1) == labels
    concept, style = np.mean([right[labels[:, 1] == k].mean(0) for k in np.unique(labels[:, 1])], axis=0)
    return {"concept_top1": float(concept), "style": float(style)}


def train(config: ConfigDict, emoji: EmojiSet, tokenizer: object, workdir: Path) -> None:
    """Trains on all pictures but one in ``HELD_OUT``, by which it is measured; on every style as often."""
    del tokenizer
    usable, test = pictures_of(emoji)
    chosen = np.setdiff1d(usable, test)
    concepts = sorted({emoji.records[i].concept for i in usable})
    write_json(workdir / "labels.json", {"concepts": concepts, "styles": list(STYLES)})
    truth = labels_of(emoji, concepts)
    by_style = [chosen[truth[chosen, 1] == k] for k in range(len(STYLES))]
    sizes = dict(num_concepts=len(concepts), num_styles=len(STYLES))
    model = PictureClassifier(**config.model, **sizes, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(model)

    def batch_at(step: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((2, step))
        index = [rng.choice(by_style[style]) for style in rng.integers(len(STYLES), size=config.batch_size)]
        pictures = [augmented(emoji, i, rng, AUGMENTATION)[0] for i in index]
        return {"images": np.stack(pictures), "labels": truth[index]}

    def loss(params, frozen, batch, key):
        del frozen, key
        logits, labels = nnx.merge(graphdef, params)(to_model(batch["images"])), batch["labels"].T
        smooth = [optax.smooth_labels(jax.nn.one_hot(k, x.shape[-1]), 0.1) for x, k in zip(logits, labels, strict=True)]
        losses = [optax.softmax_cross_entropy(x, y).mean() for x, y in zip(logits, smooth, strict=True)]
        return losses[0] + losses[1], {"concept": losses[0], "style": losses[1]}

    @jax.jit
    def found(params, images):
        return [x.argmax(-1) for x in nnx.merge(graphdef, params)(to_model(images))]

    def evaluate(params, step: int) -> dict[str, float]:
        return shares_right(found(params, emoji.images[test]), truth[test])

    fit(
        loss,
        params,
        batch_at,
        config=FitConfig(**config.fit),
        optimizer=OptimizerConfig(**config.optimizer),
        workdir=workdir,
        evaluate=evaluate,
    )
