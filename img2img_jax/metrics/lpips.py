"""LPIPS as a metric of pictures in [0, 1] (Zhang et al. 1801.03924)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax
from flax import nnx
from jaxtyping import Array, Float

from img2img_jax.checkpoints import ShardingRule, load_component, resolve
from img2img_jax.models import LPIPS
from img2img_jax.types import UnitImage

SMALLEST = 32
"""Side in pixels of the smallest picture for all three backbones."""


class PerceptualDistance:
    """LPIPS with one backbone.

    Attributes:
      net: ``"alex"``, ``"vgg"`` or ``"squeeze"``.
    """

    def __init__(self, model: LPIPS):
        self.net = model.config.net
        self._graphdef, self._state = nnx.split(model)

    @classmethod
    def load(
        cls, path_or_hub_id: str | Path, *, revision: str | None = None, sharding: ShardingRule | None = None
    ) -> PerceptualDistance:
        """Loads a folder of ``config.json`` (``{"net": "alex"}``) and ``model.safetensors``.

        The keys are those of the ``lpips`` package's ``state_dict``; ``scripts/export_lpips.py`` writes such folders.

        Raises:
          CheckpointError: no such checkpoint, or it is broken.
        """
        return cls(load_component(LPIPS, resolve(path_or_hub_id, revision=revision), sharding=sharding))

    def __call__(self, source: UnitImage, output: UnitImage) -> Float[Array, " b"]:
        """Distance per sample: 0 (equal) upwards, seldom above 1. Value for value that of ``lpips`` 0.1."""
        return _distance(self._graphdef, self._state, source, output)


@partial(jax.jit, static_argnums=0)
def _distance(graphdef: nnx.GraphDef, state: nnx.State, source: UnitImage, output: UnitImage) -> Float[Array, " b"]:
    return nnx.merge(graphdef, state)(2 * source - 1, 2 * output - 1)
