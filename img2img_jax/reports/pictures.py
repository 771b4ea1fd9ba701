"""Pictures of a run as data URIs, small enough for a page."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from img2img_jax import images, metadata
from img2img_jax.file_digest import file_sha256
from img2img_jax.reports.contact_sheet import shrink
from img2img_jax.reports.run_files import Row
from img2img_jax.runs import Sizing

LOSSLESS = 128
"""Pixels of the longer side up to which compression would be seen."""
QUALITY = 85


def data_uri(picture: Image.Image, max_side: int) -> str:
    """A picture as WebP in a data URI, its longer side at most ``max_side`` pixels; without its metadata."""
    small = shrink(picture, max_side)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", lossless=max(small.size) <= LOSSLESS, quality=QUALITY, exif=b"", icc_profile=None)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def output_path(folder: Path, row: Row) -> Path | None:
    """The row's picture file; None if the row names none, or one outside the work directory."""
    name = row.get("output")
    if not isinstance(name, str):
        return None
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) else None


def output_picture(folder: Path, row: Row) -> Image.Image | None:
    """What the row's trial made; None if the file is gone or broken."""
    path = output_path(folder, row)
    try:
        return None if path is None else images.load_image(path)
    except images.ImageError:
        return None


def input_picture(folder: Path, rows: Sequence[Row]) -> Image.Image | None:
    """What went in, at its final size, for rows of one input: the output at strength 0, which is the input itself, or
    else the file that the outputs' parameters name, if it is still there and still the same. None otherwise.
    """
    for row in rows:
        if row["strength"] == 0:
            return output_picture(folder, row)
    path = output_path(folder, rows[0])
    try:
        source = Path(metadata.read_parameters(path).image)
        if file_sha256(source) != rows[0].get("image_sha256"):
            return None
        names = [field.name for field in dataclasses.fields(Sizing) if field.name in rows[0]]
        return Image.fromarray(Sizing(**{name: rows[0][name] for name in names}).prepare(source))
    except (ValueError, OSError, TypeError):
        return None
