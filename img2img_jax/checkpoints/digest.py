"""Fingerprints of weights, in files and in memory, for manifests and picture metadata."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from img2img_jax.file_digest import file_sha256


def weight_digests(checkpoint: str | Path) -> dict[str, str]:
    """SHA-256 of every safetensors file in a checkpoint's folder, by its path below that folder, sorted.

    Of a checkpoint that is one file: that file's, by its name.
    """
    checkpoint = Path(checkpoint)
    if checkpoint.is_file():
        return {checkpoint.name: file_sha256(checkpoint)}
    files = sorted(checkpoint.glob("**/*.safetensors"))
    return {file.relative_to(checkpoint).as_posix(): file_sha256(file) for file in files}


def tree_digest(tree: Any) -> str:
    """The SHA-256 over a pytree's arrays: path, kind, shape and bytes of each. As 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        values = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {values.dtype} {values.shape}\n".encode())
        digest.update(values.reshape(-1).view(np.uint8))
    return digest.hexdigest()
