"""The contrastive loss of CLIP (Radford et al. 2103.00020, fig. 3)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float

from img2img_jax.models import CLIPModel
from img2img_jax.training.pixels import to_model
from img2img_jax.types import Image, TokenIds


def clip_loss(
    model: CLIPModel, images: Image, input_ids: TokenIds, smoothing: float = 0.0
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Symmetric cross-entropy of each picture against all captions of the batch, and the other way round.

    Args:
      images: pictures as the vision tower wants them.
      input_ids: their captions, in the same order.
      smoothing: of the labels; captions of one batch may well be near each other.

    Returns:
      The loss and ``top1``, the share of pictures whose own caption scores highest.
    """
    pictures, texts = model.image_features(images), model.text_features(input_ids)
    # The temperature is kept within CLIP's own bound of 100.
    logits = jnp.exp(jnp.minimum(model.logit_scale[...], jnp.log(100.0))) * pictures @ texts.T
    labels = optax.smooth_labels(jnp.eye(len(logits)), smoothing)
    cross_entropy = optax.softmax_cross_entropy
    loss = (cross_entropy(logits, labels).mean() + cross_entropy(logits.T, labels).mean()) / 2
    return loss, {"top1": (logits.argmax(-1) == jnp.arange(len(logits))).mean()}


def loss_fn(graphdef: nnx.GraphDef, smoothing: float = 0.0):
    """``clip_loss`` in the form ``fit`` takes; batches hold ``images`` (uint8) and ``input_ids``.

    ``frozen`` is the part of the model's state that is not trained, which may be empty.
    """

    def loss(params, frozen, batch, key):
        del key
        images = to_model(batch["images"])
        return clip_loss(nnx.merge(graphdef, params, frozen), images, batch["input_ids"], smoothing)

    return loss


@jax.jit
def retrieval_top1(pictures: Float[Array, "b p"], texts: Float[Array, "b p"]) -> Float[Array, ""]:
    """Share of pictures whose own caption is nearest among all ``b``."""
    return ((pictures @ texts.T).argmax(-1) == jnp.arange(len(pictures))).mean()
