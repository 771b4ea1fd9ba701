"""Stage 1: CLIP; or, of a CLIP that is finished, the picture tower alone."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from batches import held_out, pictures_at
from flax import nnx
from ml_collections import ConfigDict

from img2img_jax.checkpoints import load_component
from img2img_jax.data.captions import canonical
from img2img_jax.data.emoji import EmojiSet
from img2img_jax.data.tokenizer import ClipTokenizer
from img2img_jax.models import CLIPConfig, CLIPModel
from img2img_jax.training import FitConfig, OptimizerConfig, fit
from img2img_jax.training.clip_loss import loss_fn, retrieval_top1
from img2img_jax.training.pixels import to_model


def of_pictures(path: tuple, _: object) -> bool:
    """The parameters that are trained when the text tower, under which a UNet has been trained, must stay."""
    return path[0] in ("vision_model", "visual_projection", "logit_scale")


def train(
    config: ConfigDict, emoji: EmojiSet, tokenizer: ClipTokenizer, workdir: Path, init: Path | None = None
) -> None:
    """Trains and logs top-1 of 256 captions, for held-out styles of seen concepts and for unseen concepts.

    With ``init``, what is ``of_pictures`` in ``init/clip`` is trained on, and the rest stays as it is.
    """
    if init is None:
        model = CLIPModel(CLIPConfig.from_dict(config.model.to_dict()), rngs=nnx.Rngs(config.fit.get("seed", 0)))
        graphdef, params, frozen = nnx.split(model, nnx.Param, ...)
    else:
        model = load_component(CLIPModel, init / "clip", dtype=jnp.float32)
        graphdef, params, frozen = nnx.split(model, of_pictures, ...)
    draw = pictures_at(emoji, batch_size=config.batch_size, num_concepts=config.num_concepts)

    def batch_at(step: int) -> dict[str, np.ndarray]:
        images, captions = draw(step)
        return {"images": images, "input_ids": np.asarray(tokenizer(captions))}

    @jax.jit
    def features(params, frozen, images, input_ids):
        clip = nnx.merge(graphdef, params, frozen)
        return clip.image_features(to_model(images)), clip.text_features(input_ids)

    def evaluate(params, step: int) -> dict[str, float]:
        result = {}
        for split in ("unseen_style", "unseen_concept"):
            index = held_out(emoji, split, 256)
            ids = np.asarray(tokenizer([canonical(emoji.records[i]) for i in index]))
            result[f"top1/{split}"] = retrieval_top1(*features(params, frozen, emoji.images[index], ids))
        return result

    fit(
        loss_fn(graphdef, config.smoothing),
        params,
        batch_at,
        config=FitConfig(**config.fit),
        optimizer=OptimizerConfig(**config.optimizer),
        workdir=workdir,
        frozen=frozen,
        evaluate=evaluate,
    )
