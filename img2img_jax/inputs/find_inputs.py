"""The input pictures of a run: one file, a folder, a list of them, or PIE-Bench."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from img2img_jax.images import ImageError
from img2img_jax.inputs import pie_bench
from img2img_jax.inputs.input import Input, input_of

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".avif")
MANIFEST = "metadata.jsonl"


def find_inputs(path: str | os.PathLike, prompt: str | None = None) -> list[Input]:
    """Lists the pictures at `path` without opening them.

    Args:
      path: a picture; a folder; a list of pictures (.jsonl or .csv); or PIE-Bench's mapping_file.json (see
        `inputs.pie_bench`). A list has one object or row a picture, with "file_name", relative to the list's folder,
        "prompt" or "text", and if need be the other fields of `Input`. A folder's `metadata.jsonl` (the imagefolder
        convention) is such a list; pictures it does not mention, be it as a mask or a reference, follow by name. Hidden
        files and subfolders are passed over.
      prompt: used for all of them instead of the list's.

    Raises:
      ImageError: nothing at `path`, or a folder without pictures.
      ValueError: a line of the list that cannot be used.
    """
    path = Path(path)
    if not path.exists():
        raise ImageError(f"{path}: no such file or folder; check the path")
    inputs = _folder(path) if path.is_dir() else _file(path)
    return inputs if prompt is None else [dataclasses.replace(item, prompt=prompt) for item in inputs]


def _file(path: Path) -> list[Input]:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return pie_bench.read_mapping_file(path)
    if suffix in _LISTS:
        return _listed(path)
    return [Input(path=path)]


def _folder(path: Path) -> list[Input]:
    listed = _listed(path / MANIFEST) if (path / MANIFEST).exists() else []
    known = {file for item in listed for file in (item.path, item.mask, item.reference)}
    others = sorted(
        file
        for file in path.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file not in known
    )
    if not listed and not others:
        raise ImageError(f"{path}: no pictures in this folder; they end in {', '.join(SUFFIXES)}")
    return listed + [Input(path=file) for file in others]


def _listed(path: Path) -> list[Input]:
    inputs: dict[Path, Input] = {}
    for number, row in _LISTS[path.suffix.lower()](path):
        try:
            item = input_of(row if isinstance(row, dict) else json.loads(row), path.parent)
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f'{path}, line {number}: not an object with "file_name" and "prompt" ({error}); correct it'
            ) from error
        inputs[item.path] = item  # of two lines on one picture the later one counts
    return list(inputs.values())


def _json_lines(path: Path) -> Iterator[tuple[int, str]]:
    # Not splitlines(): U+2028 ends a line for it, but not in JSON.
    lines = enumerate(path.read_text(encoding="utf-8").split("\n"), start=1)
    return ((number, line) for number, line in lines if line.strip())


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            yield reader.line_num, row


_LISTS = {".jsonl": _json_lines, ".csv": _csv_rows}
