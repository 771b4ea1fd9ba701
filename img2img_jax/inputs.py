"""The input pictures of a run: one file, or a folder of them with their prompts."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

from img2img_jax.images import ImageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".avif")
MANIFEST = "metadata.jsonl"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Input:
    """A picture file and what it is to become; `prompt` None if nothing says so."""

    path: Path
    prompt: str | None


def find_inputs(path: str | os.PathLike, prompt: str | None = None) -> list[Input]:
    """Lists the pictures at `path` without opening them.

    Args:
      path: a picture, or a folder. A folder's `metadata.jsonl` (the imagefolder convention: one object a line
        with "file_name", relative to the folder, and "prompt" or "text") gives order and prompts; pictures it does not
        mention follow by name. Hidden files and subfolders are passed over.
      prompt: used for all of them instead of the manifest's.

    Raises:
      ImageError: nothing at `path`, or a folder without pictures.
      ValueError: a line of the manifest that cannot be used.
    """
    path = Path(path)
    if not path.exists():
        raise ImageError(f"{path}: no such file or folder; check the path")
    if not path.is_dir():
        return [Input(path=path, prompt=prompt)]
    prompts = _read_manifest(path / MANIFEST) if (path / MANIFEST).exists() else {}
    listed = [path / name for name in prompts]
    others = sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.name not in prompts
    )
    if not listed + others:
        raise ImageError(f"{path}: no pictures in this folder; they end in {', '.join(SUFFIXES)}")
    return [
        Input(path=file, prompt=prompt if prompt is not None else prompts.get(str(file.relative_to(path))))
        for file in listed + others
    ]


def _read_manifest(path: Path) -> dict[str, str | None]:
    prompts = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name, prompt = os.path.normpath(row["file_name"]), row.get("prompt", row.get("text"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f'{path}, line {number}: not an object with "file_name" and "prompt" ({error}); correct it'
            ) from error
        if not isinstance(prompt, str | None):
            raise ValueError(f"{path}, line {number}: prompt {prompt!r} is no text; put it in quotes")
        prompts[name] = prompt
    return prompts
