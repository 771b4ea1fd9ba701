"""Fingerprints of weights, in files and in memory, for manifests and picture metadata."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits.

    Raises:
      OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weight_digests(folder: str | Path) -> dict[str, str]:
    """SHA-256 of every safetensors file in a checkpoint's folder, by its path below that folder, sorted."""
    folder = Path(folder)
    files = sorted(folder.glob("**/*.safetensors"))
    return {file.relative_to(folder).as_posix(): sha256(file) for file in files}


def tree_digest(tree: Any) -> str:
    """The SHA-256 over a pytree's arrays: path, kind, shape and bytes of each. As 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        values = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {values.dtype} {values.shape}\n".encode())
        digest.update(values.reshape(-1).view(np.uint8))
    return digest.hexdigest()
