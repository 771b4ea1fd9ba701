"""The judge: a classifier of real pictures that the evaluation asks what the model drew."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import optax
from batches import augmented
from flax import nnx
from ml_collections import ConfigDict
from picture_judge import PictureClassifier, PictureJudge

from img2img_jax.checkpoints import write_json
from img2img_jax.data.emoji import STYLES, EmojiSet
from img2img_jax.training import FitConfig, OptimizerConfig, fit
from img2img_jax.training.pixels import to_model

HELD_OUT = 16


def pictures_of(emoji: EmojiSet) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the pictures in styles that are trained on, and of those among them kept for measuring the judge."""
    usable = np.asarray([i for i, record in enumerate(emoji.records) if record.style in STYLES])
    return usable, usable[usable % HELD_OUT == 0]


def judged_by(judge: PictureJudge, emoji: EmojiSet) -> dict[str, float]:
    """How often the judge itself is right on real pictures it was not trained on."""
    _, test = pictures_of(emoji)
    concepts, styles = (scores.argmax(-1) for scores in judge(np.asarray(emoji.images[test])))
    records = [emoji.records[i] for i in test]
    right = {
        "concept": [judge.concepts[k] == r.concept for k, r in zip(concepts, records, strict=True)],
        "style": [judge.styles[k] == r.style for k, r in zip(styles, records, strict=True)],
    }
    return {name: float(np.mean(values)) for name, values in right.items()}


def train(config: ConfigDict, emoji: EmojiSet, tokenizer: object, workdir: Path) -> None:
    """Trains on all pictures of all concepts but one in ``HELD_OUT``, by which it is measured."""
    del tokenizer
    usable, test = pictures_of(emoji)
    chosen = np.setdiff1d(usable, test)
    concepts = sorted({emoji.records[i].concept for i in usable})
    write_json(workdir / "labels.json", {"concepts": concepts, "styles": list(STYLES)})
    number = {concept: k for k, concept in enumerate(concepts)}
    truth = np.asarray([(number.get(r.concept, -1), STYLES.index(r.style)) if r.style in STYLES else (-1, -1)
                        for r in emoji.records])  # fmt: skip
    model = PictureClassifier(config.model.channels, len(concepts), len(STYLES), rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(model)

    def batch_at(step: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((2, step))
        index = rng.choice(chosen, config.batch_size)
        return {"images": np.stack([augmented(emoji, i, rng)[0] for i in index]), "labels": truth[index]}

    def loss(params, frozen, batch, key):
        del frozen, key
        logits, labels = nnx.merge(graphdef, params)(to_model(batch["images"])), batch["labels"].T
        smooth = [optax.smooth_labels(jax.nn.one_hot(k, x.shape[-1]), 0.1) for x, k in zip(logits, labels, strict=True)]
        losses = [optax.softmax_cross_entropy(x, y).mean() for x, y in zip(logits, smooth, strict=True)]
        return losses[0] + losses[1], {"concept": losses[0], "style": losses[1]}

    @jax.jit
    def right(params, images, labels):
        logits = nnx.merge(graphdef, params)(to_model(images))
        return [(x.argmax(-1) == k).mean() for x, k in zip(logits, labels.T, strict=True)]

    def evaluate(params, step: int) -> dict[str, float]:
        concept, style = right(params, emoji.images[test], truth[test])
        return {"concept_top1": float(concept), "style": float(style)}

    fit(
        loss,
        params,
        batch_at,
        config=FitConfig(**config.fit),
        optimizer=OptimizerConfig(**config.optimizer),
        workdir=workdir,
        evaluate=evaluate,
    )
