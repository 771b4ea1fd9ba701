"""JSON objects on disk: configurations and shard indices."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from img2img_jax.checkpoints.atomic import replacing
from img2img_jax.checkpoints.errors import CheckpointError

MAX_BYTES = 32 * 2**20
"""Largest JSON file read; the largest known ones (tokenizers, shard indices) stay below 20 MB."""


def read_json(path: str | Path, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Reads a file that holds one JSON object.

    Raises:
      CheckpointError: the file is missing or no regular file, larger than ``max_bytes``, not UTF-8, not JSON, nested
        too deeply, says a thing twice, holds a NaN or something other than an object.
    """
    path = Path(path)
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would be waited for for ever
            raise OSError("no regular file")
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
      CheckpointError: not UTF-8, not JSON, nested too deeply, a name twice in an object, NaN, or not an object.
    """
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_unambiguous, parse_constant=_infinity)
    except RecursionError:
        raise CheckpointError(f"{origin}: the JSON is nested too deeply") from None
    except ValueError as error:  # undecodable, malformed, or an integer of thousands of digits
        raise CheckpointError(f"{origin} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{origin} must hold a JSON object {{...}}, found {type(value).__name__}")
    return value


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; readers differ in which of two equal names they believe."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return values


def _infinity(constant: str) -> float:
    """Infinities are no JSON, but diffusers writes them into scheduler files; NaN no one means."""
    if constant == "NaN":
        raise ValueError("NaN is no number")
    return float(constant)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes an object in the layout diffusers uses (two spaces, sorted keys), atomically."""
    with replacing(path) as file:
        file.write((json.dumps(value, indent=2, sort_keys=True) + "\n").encode("utf-8"))


def keep_json(path: Path, value: Mapping[str, Any], *, free: Collection[str] = ()) -> list[str]:
    """Writes an object where none is; what is there stays as it is.

    Returns:
      the keys whose value is another in the file, sorted, but for those ``free`` to change.

    Raises:
      CheckpointError: what is there is no JSON object.
    """
    if not path.is_file():
        write_json(path, value)
        return []
    before, now = read_json(path), json.loads(json.dumps(value))
    return sorted(key for key in (before.keys() | now.keys()) - set(free) if before.get(key) != now.get(key))
