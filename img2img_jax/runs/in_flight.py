"""The batches of a run through an engine: made together, handed out one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from img2img_jax import images, sweep
from img2img_jax.engine import Engine, Job
from img2img_jax.engine import Result as Made
from img2img_jax.runs.plan import PlannedBatch, Trial, read_pixels

Rendered: TypeAlias = tuple[Trial, sweep.Result | images.ImageError]
"""A trial, and its picture or what is wrong with its input."""


def in_flight(
    engine: Engine, batches: Sequence[tuple[int, PlannedBatch]], provenance: Mapping[str, Any]
) -> Iterator[tuple[int, list[Rendered]]]:
    """Numbered batches, each as soon as the last of its trials is done.

    Raises:
      ValueError: settings that the engine does not have.
    """
    trials = {number: batch.trials for number, batch in batches}
    left = {(number, place): trial for number in trials for place, trial in enumerate(trials[number])}
    rendered: dict[int, dict[int, Rendered]] = {number: {} for number in trials}

    def whole(number: int) -> Iterator[tuple[int, list[Rendered]]]:
        if len(rendered[number]) == len(trials[number]):
            found = rendered.pop(number)
            yield number, [found[place] for place in sorted(found)]

    failure = None
    while left:
        problems = _problems(left.values())
        refused = [key for key, trial in left.items() if trial.sample.image in problems]
        if failure is not None and not refused:
            raise failure
        for number, place in refused:
            trial = left.pop((number, place))
            rendered[number][place] = trial, problems[trial.sample.image]
        for number in list(rendered):
            yield from whole(number)
        places, jobs = list(left), [_job(engine, trial) for trial in left.values()]
        try:
            for made in engine.run(jobs, latents_at_zero=True):
                number, place = places[made.index]
                rendered[number][place] = _result(engine, left.pop((number, place)), made, provenance)
                yield from whole(number)
        except images.ImageError as error:
            # A file that broke while jobs were under way, as the engine reads it again. Those that are left start anew
            # without it; no result depends on what flies beside it.
            failure = error


def _problems(trials: Iterable[Trial]) -> dict[Path, images.ImageError]:
    """What is wrong with inputs that cannot be used, by their paths; each is read once."""
    problems = {}
    for path, trial in {trial.sample.image: trial for trial in trials}.items():
        try:
            read_pixels(trial)
        except images.ImageError as error:
            problems[path] = error
    return problems


def _job(engine: Engine, trial: Trial) -> Job:
    sample, sizing = trial.sample, trial.sizing
    height, width, _ = sample.pixels.shape
    settings = dataclasses.asdict(trial.settings)
    tile_size = settings.pop("vae_tile_size")
    if tile_size != engine.vae_tile_size:
        raise ValueError(
            f"vae_tile_size={tile_size} is planned, but the engine has {engine.vae_tile_size}; give it both"
        )
    return Job(
        image=str(sample.image),
        height=height,
        width=width,
        resize=sizing.resize,
        background=sizing.background,
        prompt=sample.prompt,
        strength=sample.strength,
        seed=sample.seed,
        **settings,
    )


def _result(engine: Engine, trial: Trial, made: Made, provenance: Mapping[str, Any]) -> Rendered:
    try:
        # The plan holds no pictures, and neither does the run, but for those of a batch that is nearly whole.
        sample = dataclasses.replace(trial.sample, pixels=read_pixels(trial))
    except images.ImageError as error:
        return trial, error
    parameters = sweep.recorded(
        sample, trial.settings, made.start, provenance, batch_size=engine.slots_per_device, batch_index=0
    )
    latents = made.source_latents, made.latents
    return trial, sweep.Result(sample=sample, picture=made.image, parameters=parameters, latents=latents)
