"""One component of a checkpoint before it is read: its configuration, and where its tensors lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from img2img_jax.checkpoints.json_file import read_json
from img2img_jax.checkpoints.links import refuse_links_out
from img2img_jax.checkpoints.weight_files import WeightNames, open_weights


class Tensor(Protocol):
    """What a parameter is filled from, e.g. a ``StoredTensor``; ``read`` gives values of ``shape``."""

    @property
    def file(self) -> Path: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    def read(self) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredComponent:
    """A network in its files.

    Attributes:
      config: what its ``config.json`` says, or would say.
      tensors: by the keys of the diffusers or transformers layout.
      origin: folder or file, for messages.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    origin: Path


def stored_component(folder: Path, names: WeightNames) -> StoredComponent:
    """A component's folder in the diffusers layout.

    Raises:
      CheckpointError: as ``read_json`` and ``open_weights``, or a link leads out of the folder.
    """
    refuse_links_out(folder)
    return StoredComponent(config=read_json(folder / "config.json"), tensors=open_weights(folder, names), origin=folder)
