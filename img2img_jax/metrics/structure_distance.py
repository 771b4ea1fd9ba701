"""Structure distance: self-similarity of DINO's keys (Tumanyan et al. 2201.00424; PIE-Bench, Ju et al. 2310.01506)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from img2img_jax.checkpoints import ShardingRule, load_component, resolve
from img2img_jax.metrics.resize import normalised, to_square
from img2img_jax.models import ViTModel
from img2img_jax.types import UnitImage

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_EPS = 1e-8


class StructureDistance:
    """A ViT whose last layer's keys say where in a picture is what; PIE-Bench takes ``facebook/dino-vitb8``."""

    def __init__(self, model: ViTModel):
        self._graphdef, self._state = nnx.split(model)

    @classmethod
    def load(
        cls, path_or_hub_id: str | Path, *, revision: str | None = None, sharding: ShardingRule | None = None
    ) -> StructureDistance:
        """Loads a ``ViTModel`` as transformers saves it (safetensors).

        Raises:
          CheckpointError: no such checkpoint, or it is broken.
        """
        return cls(load_component(ViTModel, resolve(path_or_hub_id, revision=revision), sharding=sharding))

    def __call__(self, source: UnitImage, output: UnitImage) -> Float[Array, " b"]:
        """Mean squared difference of the two matrices of cosines between tokens: 0 (equal) to 4.

        Pictures are resized to the network's square size (224 for DINO), bilinear with antialiasing. Tables of
        PIE-Bench print 1000 times this number.
        """
        return _distance(self._graphdef, self._state, source, output)


def _similarities(keys: Float[Array, "b n d"]) -> Float[Array, "b n n"]:
    """Cosines between all pairs of tokens, each token's keys of all heads in one vector."""
    keys = keys.astype(jnp.float32)
    lengths = jnp.linalg.norm(keys, axis=-1)
    products = jnp.matmul(keys, keys.mT, precision="highest")
    return products / jnp.maximum(lengths[:, :, None] * lengths[:, None], _EPS)


@partial(jax.jit, static_argnums=0)
def _distance(graphdef: nnx.GraphDef, state: nnx.State, source: UnitImage, output: UnitImage) -> Float[Array, " b"]:
    vit = nnx.merge(graphdef, state)

    def similarities(images: UnitImage) -> Float[Array, "b n n"]:
        images = to_square(images, vit.config.image_size, method="linear", antialias=True)
        pixels = normalised(images, _IMAGENET_MEAN, _IMAGENET_STD)
        return _similarities(vit.keys(pixels, vit.config.num_hidden_layers - 1))

    return jnp.square(similarities(source) - similarities(output)).mean((1, 2))
