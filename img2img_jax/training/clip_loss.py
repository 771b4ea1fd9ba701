"""The contrastive loss of CLIP (Radford et al. 2103.00020, fig. 3)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from img2img_jax.models import CLIPModel
from img2img_jax.training.pixels import to_model
from img2img_jax.types import Image, TokenIds

_BLANK = 0.05
"""Largest difference between the pixels, in [-1, 1], of a patch with nothing on it."""


def clip_loss(
    model: CLIPModel,
    images: Image,
    input_ids: TokenIds,
    smoothing: float = 0.0,
    kept: Int[Array, "b k"] | None = None,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Symmetric cross-entropy of each picture against all captions of the batch, and the other way round.

    Args:
      images: pictures as the vision tower wants them.
      input_ids: their captions, in the same order, and behind them any number of captions of other pictures, which
        are cheaper than their pictures.
      smoothing: of the labels; captions of one batch may well be near each other.
      kept: the patches that the vision tower looks at; all by default.

    Returns:
      The loss and ``top1``, the share of pictures whose own caption scores highest.
    """
    pictures, texts = model.image_features(images, kept), model.text_features(input_ids)
    # The temperature is kept within CLIP's own bound of 100.
    logits = jnp.exp(jnp.minimum(model.logit_scale[...], jnp.log(100.0))) * pictures @ texts.T
    count = len(pictures)
    losses = [
        optax.softmax_cross_entropy(scores, optax.smooth_labels(jnp.eye(*scores.shape), smoothing)).mean()
        for scores in (logits, logits[:, :count].T)
    ]
    return (losses[0] + losses[1]) / 2, {"top1": (logits.argmax(-1) == jnp.arange(count)).mean()}


def patches_at_random(key: Array, images: Image, patch_size: int, share: float) -> Int[Array, "b k"]:
    """Numbers of ``share`` of the patches of each picture, drawn at random, those with something on them sooner.

    What is one colour all over, as the ground that a thing is drawn on, stands half of the draw's range further back.
    """
    b, height, width, c = images.shape
    patches = images.reshape(b, height // patch_size, patch_size, width // patch_size, patch_size, c)
    empty = (patches.max((2, 4)) - patches.min((2, 4))).max(-1).reshape(b, -1) < _BLANK
    order = jnp.argsort(jax.random.uniform(key, empty.shape) + 0.5 * empty, axis=-1)
    return order[:, : round(share * empty.shape[1])]


def loss_fn(graphdef: nnx.GraphDef, smoothing: float = 0.0, kept_share: float = 1.0):
    """``clip_loss`` in the form ``fit`` takes; batches hold ``images`` (uint8) and ``input_ids``.

    ``frozen`` is the part of the model's state that is not trained, which may be empty.

    Args:
      kept_share: of each picture's patches, drawn anew every time by ``patches_at_random``; 1 looks at all of them.
    """

    def loss(params, frozen, batch, key):
        model: CLIPModel = nnx.merge(graphdef, params, frozen)
        images, kept = to_model(batch["images"]), None
        if kept_share < 1:
            kept = patches_at_random(key, images, model.config.vision_config.patch_size, kept_share)
        return clip_loss(model, images, batch["input_ids"], smoothing, kept)

    return loss
