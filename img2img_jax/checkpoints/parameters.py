"""The engine: parameters of an NNX module <-> tensors under PyTorch's keys, by rule.

The path of a parameter, joined by dots, is its key, but for the last word: ``kernel``, ``scale`` and ``embedding``
are all called ``weight`` in PyTorch. A kernel's axes are (..., in, out) here and (out, in, ...) there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np

from img2img_jax.checkpoints.errors import CheckpointError
from img2img_jax.checkpoints.key_table import KeyTable
from img2img_jax.checkpoints.stored_component import Tensor

ParameterPath: TypeAlias = tuple[str | int, ...]
"""Attribute names and list positions that lead to a parameter."""

_WEIGHTS = ("kernel", "scale", "embedding")
_SHOWN = 10


def key_of(path: ParameterPath) -> str:
    """PyTorch's key, e.g. ``("conv_in", "kernel")`` -> ``"conv_in.weight"``."""
    words = [str(word) for word in path]
    if len(words) > 1 and words[-1] in _WEIGHTS:
        words[-1] = "weight"
    return ".".join(words)


def to_torch(path: ParameterPath, values: np.ndarray) -> np.ndarray:
    """A view with PyTorch's order of axes: (..., in, out) -> (out, in, ...)."""
    if path[-1] != "kernel":
        return values
    return np.moveaxis(values, (-1, -2), (0, 1))


def from_torch(path: ParameterPath, values: np.ndarray) -> np.ndarray:
    """A view with NNX's order of axes: (out, in, ...) -> (..., in, out)."""
    if path[-1] != "kernel":
        return values
    return np.moveaxis(values, (0, 1), (-1, -2))


def torch_shape(path: ParameterPath, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a parameter of this shape has in a file."""
    return to_torch(path, np.broadcast_to(np.float32(0), shape)).shape


def match(
    shapes: Mapping[ParameterPath, tuple[int, ...]],
    tensors: Mapping[str, Tensor],
    table: KeyTable,
    origin: Path,
) -> dict[ParameterPath, Tensor]:
    """Finds every parameter's tensor.

    Args:
      shapes: of all the model's parameters.
      tensors: all the tensors of a checkpoint, by the keys of its files.
      table: the model class's exceptions.
      origin: of the checkpoint, for messages.

    Raises:
      CheckpointError: parameters without a tensor, tensors without a parameter, two tensors for one parameter,
        or other shapes; the message lists up to ten of each kind.
    """
    by_key = _by_canonical_key(tensors, table, origin)
    paths = {table.canonical(key_of(path)): path for path in shapes}
    missing = [table.prefix + key for key in sorted(paths.keys() - by_key.keys())]
    unmatched = [by_key[key] for key in sorted(by_key.keys() - paths.keys())]
    misshapen, found = [], {}
    for key in sorted(paths.keys() & by_key.keys()):
        path, tensor = paths[key], tensors[by_key[key]]
        expected = torch_shape(path, shapes[path])
        if tensor.shape != expected:
            shapes_text = f"is {list(tensor.shape)}, must be {list(expected)}"
            misshapen.append(f"{by_key[key]} {shapes_text} ({tensor.file.name})")
        found[path] = tensor
    problems = [("missing", missing), ("unmatched", unmatched), ("misshapen", misshapen)]
    if any(keys for _, keys in problems):
        raise CheckpointError(
            f"{origin} does not fit the model that its configuration describes: "
            + "; ".join(listed(kind, keys) for kind, keys in problems if keys)
        )
    return found


def _by_canonical_key(tensors: Mapping[str, Tensor], table: KeyTable, origin: Path) -> dict[str, str]:
    """Today's key -> the file's key."""
    by_key: dict[str, str] = {}
    for key in tensors:
        canonical = table.canonical(key)
        if canonical is None:
            continue
        if canonical in by_key:
            raise CheckpointError(f"{origin}: {by_key[canonical]} and {key} name one parameter; remove one")
        by_key[canonical] = key
    return by_key


def listed(kind: str, keys: list[str]) -> str:
    """How many keys there are of a kind, and the first ten."""
    more = f", and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{len(keys)} {kind}: " + ", ".join(keys[:_SHOWN]) + more
