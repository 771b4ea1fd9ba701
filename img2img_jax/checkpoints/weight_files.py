"""Which files of a folder hold a component's weights: one, or shards with an index; perhaps a variant."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from img2img_jax.checkpoints.errors import CheckpointError
from img2img_jax.checkpoints.json_file import read_json, write_json
from img2img_jax.checkpoints.safetensors_file import (
    PendingTensor,
    StoredTensor,
    stored_tensors,
    write_safetensors,
)

ORBAX_FOLDER = "orbax"
"""In a component's folder: weights written by ``save_orbax``."""

_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightNames:
    """File names of one component's weights, as diffusers and transformers build them.

    Attributes:
      stem: ``diffusion_pytorch_model`` (diffusers) or ``model`` (transformers).
      variant: e.g. ``fp16``; a tag in the file name, nothing more.
    """

    stem: str
    variant: str | None = None

    def __post_init__(self):
        if self.variant is not None and not re.fullmatch(r"[A-Za-z0-9_-]+", self.variant):
            raise CheckpointError(f"variant={self.variant!r} is not a file name tag such as 'fp16'")

    @property
    def tagged(self) -> str:
        """Stem with variant: what all file names but the index's begin with."""
        return self.stem if self.variant is None else f"{self.stem}.{self.variant}"

    @property
    def single(self) -> str:
        """The file that holds everything."""
        return f"{self.tagged}.safetensors"

    @property
    def index(self) -> str:
        """The file that says which shard holds what."""
        tag = "" if self.variant is None else f".{self.variant}"
        return f"{self.stem}.safetensors.index{tag}.json"

    def shard(self, number: int, count: int) -> str:
        """Shard ``number`` (from 1) of ``count``."""
        return f"{self.tagged}-{number:05d}-of-{count:05d}.safetensors"

    def is_shard(self, name: str) -> bool:
        """Whether a file name is that of a shard, whatever their number."""
        return re.fullmatch(re.escape(self.tagged) + r"-\d{5}-of-\d{5}\.safetensors", name) is not None


def weight_files(folder: Path, names: WeightNames) -> list[Path]:
    """The files that hold a component's weights, in order.

    Raises:
      CheckpointError: there are none, only pickles, only another variant, or the index leads astray.
    """
    index = folder / names.index
    if index.is_file():
        return [folder / name for name in sorted(set(_weight_map(index).values()))]
    if (folder / names.single).is_file():
        return [folder / names.single]
    raise CheckpointError(_why_no_weights(folder, names))


def open_weights(folder: Path, names: WeightNames) -> dict[str, StoredTensor]:
    """Tables of contents of all the files, joined.

    Raises:
      CheckpointError: as ``weight_files``; two shards hold one key, or a shard lacks what the index promises.
    """
    tensors: dict[str, StoredTensor] = {}
    for file in weight_files(folder, names):
        for key, tensor in stored_tensors(file).items():
            if key in tensors:
                raise CheckpointError(f"{folder}: {key} is in {tensors[key].file.name} and in {file.name}")
            tensors[key] = tensor
    index = folder / names.index
    if index.is_file():
        for key, name in _weight_map(index).items():
            if key not in tensors or tensors[key].file.name != name:
                raise CheckpointError(f"{index} says that {key} is in {name}, but it is not")
    return tensors


def save_weights(
    folder: Path,
    names: WeightNames,
    tensors: Mapping[str, PendingTensor],
    max_shard_size: int | None,
    config: Mapping[str, Any],
) -> None:
    """Writes one file, or shards of at most ``max_shard_size`` bytes with an index, and then ``config.json``.

    Removes what they replace, weights by Orbax included. The order is such that a crash leaves the old component, the
    new one, or a folder that does not load; never a mixture of both that does.
    """
    shards = _shards(tensors, max_shard_size)
    index, described = folder / names.index, folder / "config.json"
    if len(shards) == 1:
        written = {names.single}
        write_safetensors(folder / names.single, tensors, before=lambda: described.unlink(missing_ok=True))
    else:
        described.unlink(missing_ok=True)
        index.unlink(missing_ok=True)
        (folder / names.single).unlink(missing_ok=True)
        weight_map: dict[str, str] = {}
        for number, keys in enumerate(shards, start=1):
            name = names.shard(number, len(shards))
            write_safetensors(folder / name, {key: tensors[key] for key in keys})
            weight_map |= dict.fromkeys(keys, name)
        total = sum(tensor.nbytes for tensor in tensors.values())
        write_json(index, {"metadata": {"total_size": total}, "weight_map": weight_map})
        written = {names.index, *weight_map.values()}
    remove_weights(folder, names, keep=written)
    if (folder / ORBAX_FOLDER).exists():
        shutil.rmtree(folder / ORBAX_FOLDER)
    write_json(described, config)


def remove_weights(folder: Path, names: WeightNames, keep: Collection[str] = ()) -> None:
    """Deletes a component's weights of one variant, index and all, but for the files named in ``keep``."""
    for file in list(folder.iterdir()):
        if (file.name in (names.index, names.single) or names.is_shard(file.name)) and file.name not in keep:
            file.unlink(missing_ok=True)


def _shards(tensors: Mapping[str, PendingTensor], max_bytes: int | None) -> list[list[str]]:
    """Keys in order, cut into runs of at most ``max_bytes``; a larger tensor gets a shard of its own."""
    if max_bytes is not None and max_bytes <= 0:
        raise ValueError(f"max_shard_size={max_bytes} must be positive bytes, or None for a single file")
    shards: list[list[str]] = [[]]
    used = 0
    for key, tensor in tensors.items():
        if max_bytes is not None and shards[-1] and used + tensor.nbytes > max_bytes:
            shards.append([])
            used = 0
        shards[-1].append(key)
        used += tensor.nbytes
    return shards


def _weight_map(index: Path) -> dict[str, str]:
    """Key to shard name; names are plain: an index must not lead out of its folder."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: 'weight_map' must be an object that maps every key to a file name")
    for key, name in weight_map.items():
        plain = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors", name)
        if not plain:
            raise CheckpointError(f"{index}: {key} points at {name!r}, no .safetensors file of this folder")
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{index} names the shard {name}, which is missing; download it again")
    return weight_map


def _why_no_weights(folder: Path, names: WeightNames) -> str:
    """An explanation from what is there instead."""
    if not folder.is_dir():
        return f"{folder} is not a folder; a checkpoint in the diffusers layout has one for each component"
    present = sorted(file.name for file in folder.iterdir())
    problem = f"{folder} holds neither {names.single} nor {names.index}"
    weights = [name for name in present if name.endswith(".safetensors")]
    if weights:
        return f"{problem}; it holds {weights[:5]}: say which by `variant` (x.fp16.safetensors: 'fp16')"
    pickles = [name for name in present if name.endswith(_PICKLES)]
    if pickles:
        return (
            f"{problem}, only {pickles[:5]}: pickles can run code when opened and are refused. Convert once, where "
            "you trust them, with diffusers' or transformers' save_pretrained(folder, safe_serialization=True)"
        )
    return f"{problem}; it holds {present[:10]}"
