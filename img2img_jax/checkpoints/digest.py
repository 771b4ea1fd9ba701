"""Fingerprints of weight files, for manifests and picture metadata."""

from __future__ import annotations

import hashlib
from pathlib import Path


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
