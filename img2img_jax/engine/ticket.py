"""Jobs, checked and resolved on the host before anything runs."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from img2img_jax import images, rng
from img2img_jax.diffusion.strength import ResolvedStart
from img2img_jax.diffusion.table import SamplingTable, lengthened
from img2img_jax.engine.job import Job
from img2img_jax.pipeline import Img2ImgPipeline, broadcast, checked_guidance
from img2img_jax.prompts import check_syntax

ROWS = 256
"""Tables of the slots are padded to a multiple of this, so that step counts up to it share one executable."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Ticket:
    """A job with all that the engine must know of it beforehand.

    Attributes:
      index: of the job.
      picture: hash of the prepared pixels.
      size: (height, width) in pixels.
      told: what the UNet is told, by argument; one entry each.
      reading: how the texts are to be read: guided, prompt_syntax, clip_skip and chunks.
      scale: the guidance scale, float32 [1].
      timestep_cond: LCM's embedding of it [e], where the UNet takes one.
      table, start: of the sampler.
      seed: uint32 [1].
    """

    index: int
    job: Job
    picture: bytes
    size: tuple[int, int]
    told: Mapping[str, list]
    reading: tuple[bool, str, int, int]
    scale: np.ndarray
    timestep_cond: np.ndarray | None
    table: SamplingTable
    start: ResolvedStart
    seed: np.ndarray

    @property
    def executable(self) -> tuple:
        """What is shape, not data: jobs that share it are worked on together."""
        guided, _, _, chunks = self.reading
        states = [np.shape(self.told[name][0]) for name in ("prompt", "negative_prompt")]
        return self.size, guided, chunks, *states, self._rows

    @property
    def condition(self) -> tuple:
        """Equal for jobs whose UNet is told the same."""
        told = [(name, _content(column[0])) for name, column in sorted(self.told.items())]
        return self.reading, self.size, *told

    @property
    def pixels(self) -> np.ndarray:
        """The prepared picture [H,W,3], uint8, or float32 in 0..1."""
        return _prepared(self.job, self.size)

    @property
    def whole_table(self) -> SamplingTable:
        """The table [1, ...], as long as those of all jobs with its executable."""
        return dataclasses.replace(lengthened(self.table, self._rows), trip_count=None)

    @property
    def _rows(self) -> int:
        return -(-self.table.timestep.shape[1] // ROWS) * ROWS


class Desk:
    """Makes tickets for a pipeline; what jobs have in common is worked out once."""

    def __init__(self, pipe: Img2ImgPipeline, conditioner: Any):
        self._pipe, self._conditioner = pipe, conditioner
        self._pictures: dict[tuple, tuple[Any, bytes, tuple[int, int]]] = {}
        self._sampler = functools.cache(pipe.sampler)
        self._table = functools.cache(self._resolve)
        self._embedding = functools.cache(self._embedded)

    def ticket(self, index: int, job: Job) -> Ticket:
        """Raises ValueError, as a call of the pipeline would, with the job's number in front."""
        try:
            return self._ticket(index, job)
        except ValueError as error:
            raise type(error)(f"job {index}: {error}") from error

    def _ticket(self, index: int, job: Job) -> Ticket:
        _check_single(job)
        check_syntax(job.prompt_syntax)
        self._conditioner.check_clip_skip(job.clip_skip)
        scale = checked_guidance([job.guidance_scale], job.guidance_rescale)
        told = {"prompt": job.prompt, "negative_prompt": job.negative_prompt, **job.conditions}
        count, told = broadcast(self._conditioner.columns(told))
        if count != 1:
            raise ValueError(f"prompt and conditions are of {count} samples; a job is one sample")
        guided = self._pipe.guides(scale)
        chunks = self._conditioner.chunks(told, guided=guided, prompt_syntax=job.prompt_syntax)
        table, start = self._table(
            job.scheduler, job.strength, job.num_inference_steps, job.strength_mode, job.noise_at_one, job.eta
        )
        picture, size = self._picture(job)
        return Ticket(
            index=index,
            job=job,
            picture=picture,
            size=size,
            told=told,
            reading=(guided, job.prompt_syntax, job.clip_skip, chunks),
            scale=scale,
            timestep_cond=self._embedding(float(scale[0])),
            table=table,
            start=start,
            seed=rng.uint32("seed", job.seed),
        )

    def _resolve(self, scheduler, strength, steps, mode, noise_at_one, eta) -> tuple[SamplingTable, ResolvedStart]:
        table, (start,) = self._sampler(scheduler).table(strength, steps, mode=mode, noise_at_one=noise_at_one, eta=eta)
        return table, start

    def _embedded(self, scale: float) -> np.ndarray | None:
        rows = self._pipe.guidance_embedding(np.float32([scale]))
        return None if rows is None else rows[0]

    def _picture(self, job: Job) -> tuple[bytes, tuple[int, int]]:
        policy = (job.height, job.width, job.resize, job.background)
        key = (job.image if isinstance(job.image, str) else id(job.image), *policy)
        if key not in self._pictures:
            pixels = _prepared(job, multiple=self._pipe.vae_scale_factor)
            digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype}".encode() + pixels.tobytes()).digest()
            # The image is kept, so that no other object gets its id.
            self._pictures[key] = job.image, digest, pixels.shape[:2]
        return self._pictures[key][1:]


def _check_single(job: Job) -> None:
    for name in ("scheduler", "strength", "num_inference_steps", "strength_mode", "noise_at_one", "eta"):
        value = getattr(job, name)
        if np.ndim(value):
            raise ValueError(f"{name}={value!r}: a job is one sample; make a job of each")


def _prepared(job: Job, size: tuple[int, int] | None = None, multiple: int = 1) -> np.ndarray:
    height, width = size or (job.height, job.width)
    return images.prepare(
        job.image, height=height, width=width, resize=job.resize, background=job.background, multiple=multiple
    )


def _content(value: Any) -> Any:
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
