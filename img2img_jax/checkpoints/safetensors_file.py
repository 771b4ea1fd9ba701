"""One ``.safetensors`` file: its table of contents, its tensors, and writing one without holding it whole.

The safetensors library validates a file (lengths, offsets, overlaps); the bytes are then read here, tensor by
tensor, because its NumPy side knows no float8 and its memory map would count every page read as memory used.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from img2img_jax.checkpoints.atomic import replacing
from img2img_jax.checkpoints.errors import CheckpointError
from img2img_jax.checkpoints.json_file import parse_json_object

_DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor that still lies in its file.

    Attributes:
      file: the safetensors file.
      dtype: the format's name of the element type, e.g. ``"BF16"``.
      shape: of what ``read`` gives, in PyTorch's order of axes.
      offset: of the first byte, from the start of the file.
      transposed: whether the file holds the rows of this matrix as columns.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    transposed: bool = False

    @property
    def transpose(self) -> StoredTensor:
        """The same matrix, rows and columns exchanged."""
        return dataclasses.replace(self, shape=self.shape[::-1], transposed=not self.transposed)

    def reshaped(self, shape: tuple[int, ...]) -> StoredTensor:
        """The same values in another shape."""
        return dataclasses.replace(self, shape=shape)

    def split(self, parts: int) -> list[StoredTensor]:
        """Equal parts along the first axis.

        Raises:
          CheckpointError: the axis does not divide.
        """
        if not self.shape or self.shape[0] % parts or self.dtype not in _DTYPES:
            raise CheckpointError(f"{self.file}: a {self.dtype} tensor of {list(self.shape)} holds no {parts} matrices")
        shape = (self.shape[0] // parts, *self.shape[1:])
        size = math.prod(shape) * _DTYPES[self.dtype].itemsize
        return [dataclasses.replace(self, shape=shape, offset=self.offset + i * size) for i in range(parts)]

    def read(self) -> np.ndarray:
        """The values.

        Raises:
          CheckpointError: not a floating-point tensor, or the file changed under our hands.
        """
        if self.dtype not in _DTYPES:
            raise CheckpointError(
                f"{self.file}: a parameter is stored as {self.dtype}, must be one of {sorted(_DTYPES)}"
            )
        size = int(np.prod(self.shape, dtype=np.int64))
        values = np.fromfile(self.file, _DTYPES[self.dtype], size, offset=self.offset)
        if values.size != size:
            raise CheckpointError(f"{self.file} ended after {values.size} of {size} values; download it again")
        return values.reshape(self.shape[::-1]).T if self.transposed else values.reshape(self.shape)


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """The table of contents of a file; no tensor is read.

    Raises:
      CheckpointError: missing, unreadable, truncated, or with a header that contradicts itself or the length.
    """
    header, start = _header(path)
    return {
        key: StoredTensor(
            file=path,
            dtype=entry["dtype"],
            shape=tuple(entry["shape"]),
            offset=start + entry["data_offsets"][0],
        )
        for key, entry in header.items()
        if key != "__metadata__"
    }


def stored_metadata(path: Path) -> dict[str, str]:
    """The texts that a file's writer left in its header.

    Raises:
      CheckpointError: as ``stored_tensors``.
    """
    return _header(path)[0].get("__metadata__") or {}


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header, validated, and where the tensors' bytes start."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for for ever
            raise OSError("no regular file")
        with safetensors.safe_open(path, framework="np"):
            pass
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            return parse_json_object(file.read(length), path), 8 + length
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a complete safetensors file ({error}); download or convert it again"
        ) from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class PendingTensor:
    """A tensor to be written: ``values()`` is called once, when its turn has come."""

    dtype: np.dtype
    shape: tuple[int, ...]
    values: Callable[[], np.ndarray]

    @property
    def nbytes(self) -> int:
        """Size in the file."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def write_safetensors(
    path: Path, tensors: Mapping[str, PendingTensor], *, before: Callable[[], object] = lambda: None
) -> None:
    """Writes a file atomically, one tensor at a time; ``before`` is called when all is written but not yet in place.

    Raises:
      CheckpointError: an element type the format has no name for.
    """
    # "pt" says that axes are in PyTorch's order; diffusers and transformers refuse a file without it.
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for key, tensor in tensors.items():
        if tensor.dtype not in _NAMES:
            choices = [dtype.name for dtype in _NAMES]
            raise CheckpointError(f"{key} cannot be stored as {tensor.dtype}; choose one of {choices}")
        end = offset + tensor.nbytes
        header[key] = {"dtype": _NAMES[tensor.dtype], "shape": tensor.shape, "data_offsets": (offset, end)}
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode("utf-8")
    encoded += b" " * (-len(encoded) % 8)  # tensors start aligned
    with replacing(path) as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor.values(), tensor.dtype).reshape(-1).view(np.uint8).data)
        before()
