"""A small convolutional classifier of real emoji pictures: what is shown, and in which style.

It judges what the model draws. It has no part in training the model, and has seen every concept, those too that were
held out from the model, so that it can say whether they were drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from img2img_jax.checkpoints import read_json
from img2img_jax.models.layers import GroupNorm, conv
from img2img_jax.training.fit import restore_ema
from img2img_jax.training.pixels import batches_of, to_model
from img2img_jax.types import Image

_KW = dict(dtype=jnp.float32, param_dtype=jnp.float32)


class Block(nnx.Module):
    """Two convolutions around a shortcut (He et al. 1512.03385), the first of stride 2."""

    def __init__(self, c_in: int, c_out: int, *, rngs: nnx.Rngs):
        self.norm1, self.norm2 = GroupNorm(8, c_in, 1e-5), GroupNorm(8, c_out, 1e-5)
        self.conv1 = conv(c_in, c_out, stride=2, **_KW, rngs=rngs)
        self.conv2 = conv(c_out, c_out, **_KW, rngs=rngs)
        self.shortcut = conv(c_in, c_out, 1, stride=2, **_KW, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h/2 w/2 d"]:
        hidden = self.conv1(jax.nn.relu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(jax.nn.relu(self.norm2(hidden)))


def _statistics(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*c"]:
    """Mean and deviation of every channel over the picture, which carry its style (Huang & Belongie 1703.06868)."""
    return jnp.concatenate([x.mean((1, 2)), jnp.sqrt(x.var((1, 2)) + 1e-5)], axis=-1)


class Trunk(nnx.Module):
    """Features of a picture at every size, each half of the one before."""

    def __init__(self, channels: Sequence[int], *, rngs: nnx.Rngs):
        self.stem = conv(3, channels[0], stride=2, **_KW, rngs=rngs)
        self.blocks = nnx.List([Block(a, b, rngs=rngs) for a, b in zip(channels, channels[1:], strict=False)])

    def __call__(self, images: Image) -> list[Float[Array, "b h w c"]]:
        sizes = [self.stem(images)]
        for block in self.blocks:
            sizes.append(block(sizes[-1]))
        return sizes


class PictureClassifier(nnx.Module):
    """Logits of concept, from the last features of one trunk, and of style, from the statistics of all of another.

    One trunk for both serves the style badly: features that tell 1,400 concepts apart are made to ignore it.
    """

    def __init__(
        self,
        channels: Sequence[int],
        style_channels: Sequence[int],
        num_concepts: int,
        num_styles: int,
        *,
        rngs: nnx.Rngs,
    ):
        self.concept_trunk, self.style_trunk = Trunk(channels, rngs=rngs), Trunk(style_channels, rngs=rngs)
        self.norm = GroupNorm(8, channels[-1], 1e-5)
        self.concept = nnx.Linear(channels[-1], num_concepts, rngs=rngs)
        self.style = nnx.Linear(2 * sum(style_channels), num_styles, rngs=rngs)

    def __call__(self, images: Image) -> tuple[Float[Array, "b concepts"], Float[Array, "b styles"]]:
        features = jax.nn.relu(self.norm(self.concept_trunk(images)[-1])).mean((1, 2))
        statistics = [_statistics(jax.nn.relu(x)) for x in self.style_trunk(images)]
        return self.concept(features), self.style(jnp.concatenate(statistics, axis=-1))


class PictureJudge:
    """A trained classifier: ``judge(pictures)`` gives log-probabilities of every concept and every style.

    Attributes:
      concepts: concept ids, styles: style words, in the order of the logits.
    """

    def __init__(self, workdir: Path):
        labels = read_json(workdir / "labels.json")
        self.concepts, self.styles = labels["concepts"], labels["styles"]
        sizes = read_json(workdir / "config.json")["model"]
        abstract = nnx.eval_shape(
            lambda: PictureClassifier(**sizes, num_concepts=len(self.concepts), num_styles=len(self.styles),
                                      rngs=nnx.Rngs(0))
        )  # fmt: skip
        graphdef, state = nnx.split(abstract)
        self.state, _ = restore_ema(state, workdir)
        self._logits = jax.jit(lambda state, x: nnx.merge(graphdef, state)(to_model(x)))

    def __call__(self, images: np.ndarray, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """Of uint8 pictures [n, H, W, 3]: [n, concepts] and [n, styles]."""
        parts = [self._logits(self.state, batch) for batch in batches_of(images, size)]
        concepts, styles = (
            np.concatenate([jax.nn.log_softmax(x) for x in logits]) for logits in zip(*parts, strict=True)
        )
        return concepts[: len(images)], styles[: len(images)]
