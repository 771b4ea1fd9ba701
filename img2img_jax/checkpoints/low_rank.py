"""Low-rank updates of weights (LoRA: Hu et al. 2106.09685), added when the weight is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from img2img_jax.checkpoints.errors import CheckpointError
from img2img_jax.checkpoints.safetensors_file import StoredTensor
from img2img_jax.checkpoints.stored_component import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowRank:
    """``scale * up @ down`` for a linear layer; for a convolution, the kernel of the layers in turn.

    Attributes:
      down: [r, in] or [r, in, h, w].
      up: [out, r] or [out, r, 1, 1].
      mid: [r, r, h, w], of a convolution whose ``down`` is 1x1 (LoCon's Tucker form).
      scale: weight times alpha / r.
    """

    down: StoredTensor
    up: StoredTensor
    mid: StoredTensor | None = None
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the update.

        Raises:
          CheckpointError: the factors do not fit each other.
        """
        down, up = self.down.shape, self.up.shape
        mid = down[:1] * 2 if self.mid is None else self.mid.shape
        fits = len(down) >= 2 and len(up) >= 2 and up[1:2] == mid[:1] and mid[1:2] == down[:1]
        if not fits or any(side != 1 for side in up[2:]) or (self.mid and any(side != 1 for side in down[2:])):
            raise CheckpointError(
                f"{self.down.file}: factors of shapes {list(up)}, {list(mid)} and {list(down)} make no update"
            )
        return up[:1] + down[1:2] + (down[2:] if self.mid is None else mid[2:])

    def read(self) -> np.ndarray:
        """The update, float32.

        Raises:
          CheckpointError: it is not finite.
        """
        shape = self.shape
        down, up = (factor.read().astype(np.float32) for factor in (self.down, self.up))
        down, up = down.reshape(down.shape[0], -1), up.reshape(up.shape[:2])
        if self.mid is None:
            update = (up @ down).reshape(shape)
        else:
            mid = self.mid.read().astype(np.float32)
            update = np.einsum("oa,abhw,bi->oihw", up, mid, down, optimize=True)
        update *= np.float32(self.scale)
        if not np.isfinite(update).all():
            raise CheckpointError(f"{self.down.file}: an update is not finite: the file is broken")
        return update


@dataclasses.dataclass(frozen=True, kw_only=True)
class MergedTensor:
    """A weight with updates; in float32, so that it is rounded once, to the dtype it will be held in."""

    base: Tensor
    updates: tuple[LowRank, ...]

    @property
    def file(self) -> Path:
        """Of the weight."""
        return self.base.file

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight."""
        return self.base.shape

    def read(self) -> np.ndarray:
        """The sum, float32."""
        values = self.base.read().astype(np.float32)
        for update in self.updates:
            values += update.read().reshape(values.shape)
        return values


def merged(key: str, base: Tensor, update: LowRank) -> MergedTensor:
    """``base`` with one more update.

    Raises:
      CheckpointError: the shapes differ, other than by sides of 1 (a linear layer for a 1x1 convolution).
    """
    if _without_ones(update.shape) != _without_ones(base.shape):
        raise CheckpointError(
            f"{update.down.file}: the update of {key} is {list(update.shape)}, the weight {list(base.shape)}; is the "
            "LoRA for another family?"
        )
    before = base if isinstance(base, MergedTensor) else MergedTensor(base=base, updates=())
    return dataclasses.replace(before, updates=(*before.updates, update))


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if all(side == 1 for side in shape[2:]) else shape
