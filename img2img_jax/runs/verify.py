"""Makes a part of a finished run again, and compares."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from img2img_jax import images, sweep
from img2img_jax.engine import Engine
from img2img_jax.runs.plan import Plan
from img2img_jax.runs.records import Records
from img2img_jax.runs.run import pixels_sha256, render_all


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification:
    """How many rows were made again, and what is wrong, a line a row; nothing if all is well."""

    checked: int
    problems: list[str]


def verify(
    pipe: sweep.Pipeline | Engine,
    plan: Plan,
    workdir: str | Path,
    *,
    provenance: Mapping[str, Any],
    batches: int = 1,
    seed: int = 0,
) -> Verification:
    """Makes randomly drawn batches again and compares every picture's hash with its row's and its file's.

    Whole batches, since the last bit of a picture may depend on its neighbours' number.

    Args:
      pipe, plan, provenance: as for `run`.
      batches: how many, at most all.
      seed: of the draw.
    """
    workdir = Path(workdir)
    rows = {row["index"]: row for row in Records(workdir).read()}
    generator = np.random.default_rng(seed)
    drawn = sorted(generator.choice(len(plan.batches), min(batches, len(plan.batches)), replace=False))
    checked, problems = 0, []
    for _, rendered in render_all(pipe, [(number, plan.batches[number]) for number in drawn], provenance):
        for trial, result in rendered:
            checked += 1
            problem = _compare(workdir, rows.get(trial.index), trial.id, result)
            if problem:
                problems.append(f"trial {trial.index} ({trial.sample.image.name}): {problem}")
    return Verification(checked=checked, problems=problems)


def _compare(workdir: Path, row: dict | None, trial: str, result: sweep.Result | images.ImageError) -> str | None:
    if row is None:
        return "has no row"
    if isinstance(result, images.ImageError):
        return None if "error" in row else f"its input cannot be read any more: {result}"
    if "error" in row or row["trial"] != trial:
        return "its row is of another trial, or of a failure"
    made = pixels_sha256(result.picture)
    if made != row["output_sha256"]:
        return f"made again it has sha256 {made[:16]}, its row says {row['output_sha256'][:16]}"
    try:
        kept = pixels_sha256(images.load_image(workdir / row["output"]))
    except images.ImageError as error:
        return str(error)
    return None if kept == made else f"{row['output']} is not the picture of its row"
