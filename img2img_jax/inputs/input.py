"""A picture, and what is said about it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEXTS = ("prompt", "source_prompt", "negative_prompt", "mask", "reference", "group")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Input:
    """A picture file and what it is to become; None where nothing is said.

    Attributes:
      path: of the picture.
      prompt: what it is to show.
      source_prompt: what it shows.
      negative_prompt: what it is not to show.
      mask: the part that is to change: a picture file, white there; or PIE-Bench's run lengths (see ``read_mask``).
      reference: a picture file, one of the set that outputs are compared with as a set (KID, CMMD).
      group: a name for inputs of a kind; results are told apart by it.
    """

    path: Path
    prompt: str | None = None
    source_prompt: str | None = None
    negative_prompt: str | None = None
    mask: Path | tuple[int, ...] | None = None
    reference: Path | None = None
    group: str | None = None


def input_of(fields: Mapping[str, Any], folder: Path) -> Input:
    """An input from the fields of the imagefolder convention: "file_name", "prompt" or "text", and those of ``Input``.

    Args:
      fields: file names are relative to ``folder``; fields of other names are passed over.

    Raises:
      ValueError: no file name, or a field that is no text.
    """
    name = fields.get("file_name")
    if not isinstance(name, str) or not name:
        raise ValueError('no "file_name"')
    texts = {key: fields.get(key) or None for key in TEXTS[1:]}
    texts["prompt"] = fields.get("prompt", fields.get("text"))
    for key, text in texts.items():
        if not isinstance(text, str | None):
            raise ValueError(f"{key} {text!r} is no text; put it in quotes")
    files = {key: folder / os.path.normpath(texts.pop(key)) for key in ("mask", "reference") if texts[key] is not None}
    return Input(path=folder / os.path.normpath(name), **(texts | files))
