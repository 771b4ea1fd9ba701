"""The files of a run: rows that are there whole or not at all, whenever the process dies.

`rows/` holds one file of JSON lines for each finished batch, and `rows.jsonl` all rows in the order of the plan, once
the run has finished. Rows with a `reference` belong to the lines that curves are read against, not to the plan.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from img2img_jax.checkpoints import keep_json
from img2img_jax.checkpoints.atomic import replacing

Row = Mapping[str, Any]
FILES = ("config.json", "manifest.json", "rows.jsonl")
PICTURES = ("images", "references")
FOLDERS = ("rows", *PICTURES, "plots", "inputs/*")
"""What a run, and an experiment around it, write in a work directory."""
_UNFINISHED = re.compile(r"\..+\.([a-z0-9_]{8}|unfinished)")
"""Names under which `checkpoints.atomic.replacing` and `metadata.write_png` write."""


class Records:
    """The rows of a run in one work directory.

    Attributes:
      own: where files lie that no other process writes.
    """

    def __init__(self, workdir: Path):
        self.workdir = self.own = workdir
        self._parts = self._written = workdir / "rows"

    def open(self, config: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
        """Begins a run, or goes on with the same one; removes what a killed writer left.

        Raises:
          ValueError: the directory holds another run, or one made with other code, weights, libraries or devices; the
            message says what differs.
        """
        self._agree("config.json", config)
        self._agree("manifest.json", manifest)
        # Not before it is known that the folder is this run's.
        self._parts.mkdir(parents=True, exist_ok=True)
        self._written.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        """Removes what a killed writer may have left."""
        remove_unfinished(self.workdir, *(f".{name}.*" for name in FILES), *(f"{folder}/.*" for folder in FOLDERS))

    def _agree(self, name: str, values: Mapping[str, Any]) -> None:
        """Writes a file of facts about the run; if it is there, it must say the same but for the commit."""
        # Most commits do not touch the package; `code_sha256` says whether one did.
        changed = keep_json(self.workdir / name, _plain(values), free=["git_commit"])
        if changed:
            raise ValueError(
                f"{self.workdir} holds a run with another {', '.join(changed)} (see its {name}): its rows would not go "
                "together with new ones; use another work directory, or undo the change"
            )

    def has(self, part: str) -> bool:
        """Whether a part is there; if it is, it is complete."""
        return self._part(part).is_file()

    def write(self, part: str, rows: Iterable[Row]) -> None:
        """Writes a part, atomically and through to the disk."""
        _write(self._written / self._part(part).name, map(_line, rows))

    def read(self) -> list[dict[str, Any]]:
        """All rows so far, in the order of the plan."""
        rows = [json.loads(line) for file in self._parts.glob("*.jsonl") for line in file.read_text().splitlines()]
        return sorted(rows, key=lambda row: row["index"])

    def alive(self) -> contextlib.AbstractContextManager:
        """Where other hosts are at work on the same run, shows them that this one is, too."""
        return contextlib.nullcontext()

    def gather(self, parts: Mapping[str, int]) -> None:
        """Brings together what other hosts have made: nothing, where there is one."""

    def finish(self) -> None:
        """Writes `rows.jsonl`."""
        _write(self.workdir / "rows.jsonl", map(_line, self.read()))

    def _part(self, part: str) -> Path:
        return self._parts / f"{part}.jsonl"


def remove_unfinished(workdir: Path, *patterns: str) -> None:
    """Removes files that match one of the patterns and have the names of unfinished ones: what a killed writer left."""
    for path in [path for pattern in patterns for path in workdir.glob(pattern)]:
        if _UNFINISHED.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            path.unlink()


def _write(path: Path, lines: Iterable[str]) -> None:
    with replacing(path) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def _line(row: Row) -> str:
    return json.dumps(_plain(row), allow_nan=False)


def _plain(value: Any) -> Any:
    """JSON has no infinity, and the PSNR of equal pictures is one: such numbers become the text that float() reads."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
