"""Grids of pictures, as the stages leave them while they train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def to_uint8(images) -> np.ndarray:
    """Pictures of the networks' range [-1, 1] as uint8, clipped."""
    return np.clip(np.asarray(images) * 127.5 + 127.5, 0, 255).astype(np.uint8)


def save_sheet(path: Path, rows: Sequence[np.ndarray]) -> None:
    """Writes rows of pictures, uint8 [n, H, W, 3] each, one under another."""
    Image.fromarray(np.concatenate([np.concatenate(list(row), 1) for row in rows])).save(path)
