"""A sweep: many (picture, strength, seed) samples through one pipeline, in batches of one shape.

Strengths, seeds and prompts are data to the compiled program, the batch's shape is not. So the samples are
grouped by picture size and every batch of a size is filled up to the same length: one compilation per size.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from img2img_jax.metadata import Parameters


class Pipeline(Protocol):
    """What a sweep and the command ask of a pipeline; `Img2ImgPipeline` is one.

    Attributes:
      folder: where the checkpoint's files lie on this machine (for a hub id, the downloaded snapshot).
      vae_scale_factor: pixels per latent, along one side.
      native_size: side in pixels of the pictures the model was trained on.
    """

    folder: Path
    vae_scale_factor: int
    native_size: int

    def __call__(self, prompt: list[str], image: np.ndarray, **settings: Any) -> Any:
        """Returns an object with `images` (PIL) and `strength` (`ResolvedStart`), one of each per sample."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What the samples of a sweep share; named as the arguments of the pipeline, with its defaults."""

    num_inference_steps: int = 50
    guidance_scale: float = 7.5
    negative_prompt: str | None = None
    scheduler: str | None = None
    strength_mode: str = "truncate"
    noise_at_one: str = "pure"
    eta: float = 0.0
    guidance_rescale: float = 0.0
    prompt_syntax: str = "plain"
    clip_skip: int = 0
    vae_tile_size: int | None = None


PER_SAMPLE = ("guidance_scale", "negative_prompt")
"""What the pipeline takes per sample, so that settings that differ in nothing else can share a batch."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One picture to make.

    Attributes:
      pixels: [H, W, 3] uint8, the input at its final size.
      settings: its own, where they differ from the sweep's in `PER_SAMPLE`; None for the sweep's.
    """

    image: Path
    image_sha256: str
    pixels: np.ndarray
    prompt: str
    strength: float
    seed: int
    settings: Settings | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples at places `first`, `first + 1`, ... of a batch of `size`; copies of them fill the other places."""

    samples: Sequence[Sample]
    size: int
    first: int = 0

    def rows(self) -> list[Sample]:
        last = len(self.samples) - 1
        return [self.samples[min(max(place - self.first, 0), last)] for place in range(self.size)]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """A picture made, with all it takes to make it again.

    Attributes:
      latents: float32 [h, w, c] of the input and of the picture, if the pipeline gives both; else None.
    """

    sample: Sample
    picture: Image.Image
    parameters: Parameters
    latents: tuple[np.ndarray, np.ndarray] | None = None


def make_batches(samples: Iterable[Sample], max_size: int) -> list[Batch]:
    """Groups samples by picture size into batches of at most `max_size`, of one length per picture size.

    Weak strengths come first, beside their like: the loop of a batch runs until its longest sample is done.

    Raises:
      ValueError: `max_size` is below 1.
    """
    if max_size < 1:
        raise ValueError(f"batch size {max_size} is below 1; use 1 or more")
    ordered = sorted(samples, key=lambda sample: (sample.pixels.shape, sample.strength))
    batches = []
    for _, group in itertools.groupby(ordered, key=lambda sample: sample.pixels.shape):
        group = list(group)
        # As few batches as possible, evenly filled: 9 samples at most 8 at a time are 5 and 4, not 8 and 1.
        size = math.ceil(len(group) / math.ceil(len(group) / max_size))
        batches += [Batch(samples=group[i : i + size], size=size) for i in range(0, len(group), size)]
    return batches


def run(
    pipe: Pipeline,
    batches: Iterable[Batch],
    settings: Settings,
    provenance: Mapping[str, Any],
) -> Iterator[Result]:
    """Makes the pictures batch by batch and hands out each as soon as its batch is done.

    Args:
      pipe: the pipeline, called once per batch.
      batches: from `make_batches`, or one placed by hand to repeat a picture in its old place.
      settings: of samples without their own.
      provenance: the fields of `Parameters` that say with which checkpoint, software and resize policy the
        pictures are made, as `metadata.provenance` gives them.

    Raises:
      ValueError: whatever the pipeline objects to.
    """
    for batch in batches:
        rows = batch.rows()
        own = [row.settings or settings for row in rows]
        out = pipe(
            [row.prompt for row in rows],
            np.stack([row.pixels for row in rows]),
            strength=[row.strength for row in rows],
            seed=[row.seed for row in rows],
            output_type="pil",
            **_arguments(own),
        )
        latents = getattr(out, "source_latents", None), getattr(out, "latents", None)
        for place, sample in enumerate(batch.samples, start=batch.first):
            parameters = recorded(
                sample, own[place], out.strength[place], provenance, batch_size=batch.size, batch_index=place
            )
            yield Result(
                sample=sample,
                picture=out.images[place],
                parameters=parameters,
                latents=None if any(side is None for side in latents) else tuple(side[place] for side in latents),
            )


def recorded(
    sample: Sample, settings: Settings, start: Any, provenance: Mapping[str, Any], *, batch_size: int, batch_index: int
) -> Parameters:
    """What is kept of a picture; `start` is a `ResolvedStart`."""
    return Parameters(
        image=str(sample.image.resolve()),
        image_sha256=sample.image_sha256,
        height=sample.pixels.shape[0],
        width=sample.pixels.shape[1],
        prompt=sample.prompt,
        strength=sample.strength,
        seed=sample.seed,
        batch_size=batch_size,
        batch_index=batch_index,
        start=dataclasses.asdict(start),
        **dataclasses.asdict(settings),
        **provenance,
    )


def _arguments(rows: Sequence[Settings]) -> dict[str, Any]:
    """The pipeline's arguments for samples with these settings; lists of what differs between them."""
    arguments = dataclasses.asdict(rows[0])
    for name in arguments:
        values = [getattr(row, name) for row in rows]
        if any(value != values[0] for value in values):
            if name not in PER_SAMPLE:
                raise ValueError(f"a batch cannot hold {name} {values}; put them into batches of their own")
            arguments[name] = values
    return arguments
