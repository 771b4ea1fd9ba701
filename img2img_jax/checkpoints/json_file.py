"""JSON objects on disk: configurations and shard indices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from img2img_jax.checkpoints.atomic import replacing
from img2img_jax.checkpoints.errors import CheckpointError

MAX_BYTES = 32 * 2**20
"""Largest JSON file read; the largest known ones (tokenizers, shard indices) stay below 20 MB."""


def read_json(path: str | Path, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Reads a file that holds one JSON object.

    Raises:
      CheckpointError: the file is missing, larger than ``max_bytes``, not UTF-8, not JSON, nested too deeply, or
        holds something other than an object.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; is {path.parent} a complete checkpoint folder?") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > max_bytes:
        raise CheckpointError(f"{path} is larger than {max_bytes} bytes; a checkpoint's JSON never is")
    return parse_json_object(content, path)


def parse_json_object(content: bytes, origin: Path | str) -> dict[str, Any]:
    """Parses the bytes of one JSON object; ``origin`` is named in errors.

    Raises:
      CheckpointError: not UTF-8, not JSON, nested too deeply, or not an object.
    """
    try:
        value = json.loads(content.decode("utf-8"))
    except RecursionError:
        raise CheckpointError(f"{origin}: the JSON is nested too deeply") from None
    except ValueError as error:  # undecodable, malformed, or an integer of thousands of digits
        raise CheckpointError(f"{origin} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{origin} must hold a JSON object {{...}}, found {type(value).__name__}")
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes an object in the layout diffusers uses (two spaces, sorted keys), atomically."""
    with replacing(path) as file:
        file.write((json.dumps(value, indent=2, sort_keys=True) + "\n").encode("utf-8"))
