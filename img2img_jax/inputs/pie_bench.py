"""PIE-Bench, 700 pictures of ten kinds of edits (Ju et al. 2310.01506): its mapping_file.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from img2img_jax.inputs.input import Input

IMAGES = "annotation_images"
EDIT_TYPES = (
    "random",
    "change object",
    "add object",
    "delete object",
    "change content",
    "change pose",
    "change colour",
    "change material",
    "change background",
    "change style",
)
"""By the number in "editing_type_id"; the ``group`` of inputs."""


def read_mapping_file(path: Path) -> list[Input]:
    """Inputs of all entries; pictures lie in ``annotation_images`` beside the file.

    Brackets in prompts, which mark the words that differ, are left out, as the benchmark's own evaluation does.

    Raises:
      ValueError: the file is not of this form; names the entry.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [_input(entry, path.parent / IMAGES) for entry in entries.values()]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"{path}: is no mapping file of PIE-Bench ({error!r}); other lists of pictures are .jsonl or .csv"
        ) from error


def _input(entry: dict[str, Any], folder: Path) -> Input:
    prompt, source_prompt = (
        entry[key].replace("[", "").replace("]", "") for key in ("editing_prompt", "original_prompt")
    )
    return Input(
        path=folder / entry["image_path"],
        prompt=prompt,
        source_prompt=source_prompt,
        mask=tuple(map(int, entry["mask"])),
        group=EDIT_TYPES[int(entry["editing_type_id"])],
    )
