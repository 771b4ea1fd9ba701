"""Stage 1: CLIP; and, apart from it, the CLIP that scores."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from batches import pictures_at, top1_of_captions
from flax import nnx
from ml_collections import ConfigDict

from img2img_jax.checkpoints import load_component
from img2img_jax.data.augment import Augmentation
from img2img_jax.data.emoji import EmojiSet
from img2img_jax.data.tokenizer import ClipTokenizer
from img2img_jax.models import CLIPConfig, CLIPModel
from img2img_jax.training import FitConfig, OptimizerConfig, fit
from img2img_jax.training.clip_loss import loss_fn
from img2img_jax.training.initial import heads_as_taps
from img2img_jax.training.pixels import batches_of, to_model


def initial_clip(config: ConfigDict, init: Path | None) -> CLIPModel:
    """A fresh network, or the one in ``init/clip``."""
    if init is not None:
        return load_component(CLIPModel, init / "clip", dtype=jnp.float32)
    model = CLIPModel(CLIPConfig.from_dict(config.model.to_dict()), rngs=nnx.Rngs(config.fit.get("seed", 0)))
    if config.heads_as_taps:
        heads_as_taps(model.vision_model)
    return model


def train(
    config: ConfigDict, emoji: EmojiSet, tokenizer: ClipTokenizer, workdir: Path, init: Path | None = None
) -> None:
    """Trains and logs top-1 of 256 captions, for held-out styles of seen concepts and for unseen concepts."""
    graphdef, params, rest = nnx.split(initial_clip(config, init), nnx.Param, ...)
    draw = pictures_at(
        emoji,
        batch_size=config.batch_size,
        num_concepts=config.num_concepts,
        more_captions=config.more_captions,
        traced_share=config.traced_share,
        augmentation=Augmentation(**config.augmentation),
    )

    def batch_at(step: int) -> dict[str, np.ndarray]:
        images, captions = draw(step)
        return {"images": images, "input_ids": np.asarray(tokenizer(captions))}

    @jax.jit
    def pictures(params, images):
        return nnx.merge(graphdef, params, rest).image_features(to_model(images))

    @jax.jit
    def texts(params, input_ids):
        return nnx.merge(graphdef, params, rest).text_features(input_ids)

    def evaluate(params, step: int) -> dict[str, float]:
        def shown(images: np.ndarray) -> jax.Array:
            return jnp.concatenate([pictures(params, chunk) for chunk in batches_of(images, 32)])[: len(images)]

        def read(captions: list[str]) -> jax.Array:
            return texts(params, np.asarray(tokenizer(captions)))

        splits = ("unseen_style", "unseen_concept")
        return {f"top1/{split}": top1_of_captions(emoji, split, shown, read)[0] for split in splits}

    fit(
        loss_fn(graphdef, config.smoothing, config.kept_share),
        params,
        batch_at,
        config=FitConfig(**config.fit),
        optimizer=OptimizerConfig(**config.optimizer),
        workdir=workdir,
        frozen=rest,
        evaluate=evaluate,
    )
