"""What curves over strength are read against, measured as the outputs are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from img2img_jax import images, sweep
from img2img_jax.checkpoints.atomic import replacing
from img2img_jax.finder.calibration import ROUND_TRIP, TEXT_TO_IMAGE, is_text_to_image
from img2img_jax.runs import Plan, SharedEncodings
from img2img_jax.runs.plan import Trial, read_pixels
from img2img_jax.runs.records import Row
from img2img_jax.runs.run import measure, pixels_sha256
from img2img_jax.runs.suited import Evaluate, suited

UNRELATED = "unrelated pictures"
LINES = (ROUND_TRIP, TEXT_TO_IMAGE, UNRELATED)


def reference_rows(
    pipe: SharedEncodings, plan: Plan, workdir: Path, evaluate: Evaluate, rows: Sequence[Row]
) -> list[dict[str, Any]]:
    """Rows with the name of their line as "reference", numbered after those of the plan.

    - the VAE's round trip, per picture and seed: as near to its input as any strength above 0 can come;
    - text-to-image, the rows of strength 1: what the prompt and the seed give without the picture; none of those
      that ``noise_at_one="leak"`` began from it;
    - unrelated pictures, each input beside the next one of its size: as far away as any picture is.

    Args:
      plan: of strength 0 and one of the settings alone: pictures, prompts and seeds.
      rows: of the whole run.
    """
    tile_size = plan.trials[0].settings.vae_tile_size if plan.trials else None

    def round_trip(trials: list[Trial], pixels: np.ndarray) -> np.ndarray:
        return pipe.round_trip(pixels, [trial.sample.seed for trial in trials], vae_tile_size=tile_size)

    made = [*_measured(ROUND_TRIP, round_trip, plan, workdir, evaluate)]
    made += [row | {"reference": TEXT_TO_IMAGE} for row in rows if "metrics" in row and is_text_to_image(row)]
    made += _measured(UNRELATED, _Next(plan), _first_seed(plan), workdir, evaluate)
    first = len(rows)
    return [row | {"index": first + place} for place, row in enumerate(made)]


class _Next:
    """The picture after each input's own, among those of its size; none where there is no other."""

    def __init__(self, plan: Plan):
        by_shape: dict[Any, dict[Path, Trial]] = {}
        for trial in plan.trials:
            by_shape.setdefault(trial.sample.pixels.shape, {})[trial.sample.image] = trial
        self._after = {}
        for trials in by_shape.values():
            paths = list(trials)
            if len(paths) > 1:
                self._after |= {path: trials[after] for path, after in zip(paths, paths[1:] + paths[:1], strict=True)}

    def __call__(self, trials: list[Trial], pixels: np.ndarray) -> np.ndarray | None:
        if trials[0].sample.image not in self._after:
            return None
        return images.as_unit(np.stack([read_pixels(self._after[trial.sample.image]) for trial in trials]))


def _first_seed(plan: Plan) -> Plan:
    """The plan's trials of its first seed."""
    seed = plan.trials[0].sample.seed if plan.trials else 0
    batches = [
        dataclasses.replace(batch, trials=[trial for trial in batch.trials if trial.sample.seed == seed])
        for batch in plan.batches
    ]
    return dataclasses.replace(plan, batches=[batch for batch in batches if batch.trials])


def _measured(
    name: str, make: Callable[..., np.ndarray | None], plan: Plan, workdir: Path, evaluate: Evaluate
) -> Iterator[dict[str, Any]]:
    for batch in plan.batches:
        trials, pixels = _readable(batch.trials)
        pictures = make(trials, np.stack(pixels)) if trials else None
        if pictures is None:
            continue
        results = [
            sweep.Result(sample=dataclasses.replace(trial.sample, pixels=source), picture=picture, parameters=None)
            for trial, source, picture in zip(trials, pixels, images.to_pil(pictures), strict=True)
        ]
        possible = suited(evaluate, trials[0], latents=False)
        values = measure(possible, list(zip(trials, results, strict=True)), batch.size)
        for place, (trial, result) in enumerate(zip(trials, results, strict=True)):
            yield {
                "reference": name,
                **{key: value for key, value in trial.knobs().items() if key in _KEPT},
                "output": _write(workdir, name, trial, result.picture),
                "output_sha256": pixels_sha256(result.picture),
                "metrics": {metric: float(column[place]) for metric, column in values.items()},
            }


_KEPT = ("image", "image_sha256", "prompt", "source_prompt", "group", "seed", "height", "width")


def _readable(trials: Sequence[Trial]) -> tuple[list[Trial], list[np.ndarray]]:
    """Trials whose inputs are still there; the run has told of the others."""
    found = []
    for trial in trials:
        try:
            found.append((trial, read_pixels(trial)))
        except images.ImageError:
            continue
    return [trial for trial, _ in found], [pixels for _, pixels in found]


def _write(workdir: Path, name: str, trial: Trial, picture: Any) -> str:
    file = f"references/{name.replace(' ', '_').lower()}_{trial.index:06d}.png"
    with replacing(workdir / file) as stream:
        picture.save(stream, "PNG")
    return file
