"""The batches of a run through an engine: made together, handed out one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
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
    waiting = [(number, place, trial) for number, batch in batches for place, trial in enumerate(batch.trials)]
    rendered: dict[int, dict[int, Rendered]] = {number: {} for number, _ in batches}
    jobs, places, problems = [], [], {}
    for number, place, trial in waiting:
        path = trial.sample.image
        if path not in problems:
            problems[path] = _problem(trial)
        if problems[path] is None:
            jobs.append(_job(engine, trial))
            places.append((number, place))
        else:
            rendered[number][place] = trial, problems[path]
    trials = {number: batch.trials for number, batch in batches}

    def whole(number: int) -> Iterator[tuple[int, list[Rendered]]]:
        if len(rendered[number]) == len(trials[number]):
            found = rendered.pop(number)
            yield number, [found[place] for place in sorted(found)]

    for number in list(rendered):
        yield from whole(number)
    for made in engine.run(jobs, latents_at_zero=True):
        number, place = places[made.index]
        rendered[number][place] = _result(engine, trials[number][place], made, provenance)
        yield from whole(number)


def _problem(trial: Trial) -> images.ImageError | None:
    try:
        read_pixels(trial)
    except images.ImageError as error:
        return error
    return None


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
