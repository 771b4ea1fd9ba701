"""In-flight batching: a fixed number of slots per device, each refilled as soon as its sample is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from img2img_jax import images
from img2img_jax.diffusion.strength import ResolvedStart
from img2img_jax.engine.conditions import read_conditions
from img2img_jax.engine.decoder import Made
from img2img_jax.engine.flight import Flight
from img2img_jax.engine.job import Job
from img2img_jax.engine.statistics import Statistics
from img2img_jax.engine.ticket import Desk, Ticket
from img2img_jax.models.vae_tiling import check_tile_size
from img2img_jax.parallel import batch_devices
from img2img_jax.pipeline import OUTPUT_TYPES, Img2ImgPipeline


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """One finished job.

    Attributes:
      index: the job's place among those given.
      job: as given.
      image: a PIL picture ("pil"), float32 [H,W,3] in 0..1 ("np"), or the latents ("latent").
      latents: float32 [h,w,c], scaled as the UNet sees them; None if no network ran (strength 0).
      source_latents: what the picture was encoded to, drawn by the job's seed; None likewise.
      start: where it really started.
    """

    index: int
    job: Job
    image: Any
    latents: np.ndarray | None
    source_latents: np.ndarray | None
    start: ResolvedStart


class Engine:
    """An offline engine around a pipeline.

    Each device of the pipeline's mesh holds ``slots_per_device`` samples, every one at its own row of its own table:
    strengths, step counts, samplers, prompts, scales and seeds mix. A device runs until the next of its slots is done,
    hands that sample out, and goes on with the next job in its place (iteration-level scheduling, as Orca does it for
    language models, Yu et al., OSDI 2022). When that happens is known beforehand, so nobody asks a device; the host is
    two chunks ahead. Pictures are encoded and decoded, and texts read, in batches of one size of their own.

    A result depends on its job, the number of slots per device, the VAE's batch, the dtype and the kind of device, not
    on other jobs, their number or order, or the number of devices that split the batch or hold weights between them;
    with a ``tensor`` axis, to rounding: docs/reproducibility.md.

    One set of programs serves all jobs of one picture size; guidance switched off, longer prompts in the syntax
    "a1111", and more than 256 network evaluations take another.

    Attributes:
      statistics: counts so far.
      slots_per_device, vae_tile_size: as given.
    """

    def __init__(
        self,
        pipe: Img2ImgPipeline,
        *,
        slots_per_device: int = 8,
        vae_batch_per_device: int | None = None,
        vae_tile_size: int | None = None,
    ):
        """Args:
          pipe: on any mesh. Devices along its ``data`` and ``fsdp`` axes have slots of their own; those along
            ``tensor`` share theirs, and count as one device.
          slots_per_device: samples under way at a time.
          vae_batch_per_device: pictures encoded or decoded at a time; as many as there are slots by default. Decoding
            takes more memory than a step of the UNet.
          vae_tile_size: as in a call of the pipeline.

        Raises:
          ValueError: a number below 1; a tile size that does not fit the VAE.
        """
        vae_batch = slots_per_device if vae_batch_per_device is None else vae_batch_per_device
        for name, number in (("slots_per_device", slots_per_device), ("vae_batch_per_device", vae_batch)):
            if number < 1:
                raise ValueError(f"{name}={number} is below 1; use 1 or more")
        check_tile_size(pipe.vae, vae_tile_size)
        self.statistics = Statistics()
        self._pipe, self.slots_per_device = pipe, slots_per_device
        self._vae_batch, self.vae_tile_size = vae_batch, vae_tile_size
        self._conditioner = pipe.conditioner.remembering()

    def run(self, jobs: Iterable[Job], *, output_type: str = "pil", latents_at_zero: bool = False) -> Iterator[Result]:
        """Carries jobs out and hands out each result as soon as it is there; ``Result.index`` says whose it is.

        All jobs are checked before the first runs. While they last, the host holds, besides the jobs, the text states
        of every distinct condition, and two arrays of the latents' size for every picture that is still wanted.

        Args:
          jobs: read to their end at once. Pictures given as paths are read when they are checked, and again when they
            are encoded.
          output_type: as in a call of the pipeline.
          latents_at_zero: encode pictures of strength 0 as well, so that every result has latents.

        Raises:
          ValueError: as a call of the pipeline, for a job that is named by its place.
        """
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type={output_type!r} is not known; choose one of {', '.join(OUTPUT_TYPES)}")
        desk = Desk(self._pipe, self._conditioner)
        tickets = [desk.ticket(index, job) for index, job in enumerate(jobs)]
        return self._run(tickets, output_type, latents_at_zero or output_type == "latent")

    def _run(self, tickets: Sequence[Ticket], output_type: str, latents_at_zero: bool) -> Iterator[Result]:
        groups: dict[tuple, list[Ticket]] = {}
        for ticket in tickets:
            if ticket.start.network_evaluations or latents_at_zero:
                groups.setdefault(ticket.executable, []).append(ticket)
            else:
                yield self._result(Made(ticket=ticket, picture=images.as_unit(ticket.pixels)), output_type)
        for group in groups.values():
            yield from (self._result(made, output_type) for made in self._fly(group, decode=output_type != "latent"))

    def _fly(self, group: Sequence[Ticket], decode: bool) -> Iterator[Made]:
        conditions = read_conditions(self._conditioner, group, self.slots_per_device)
        self.statistics.conditions_read += len(conditions)
        flight = Flight(
            self._pipe,
            group,
            conditions,
            slots=self.slots_per_device,
            vae_batch=self._vae_batch * batch_devices(self._pipe.mesh),
            vae_tile_size=self.vae_tile_size,
            decode=decode,
            statistics=self.statistics,
        )
        return flight.results()

    def _result(self, made: Made, output_type: str) -> Result:
        self.statistics.jobs += 1
        image = made.latents if output_type == "latent" else made.picture
        return Result(
            index=made.ticket.index,
            job=made.ticket.job,
            image=images.to_pil(image)[0] if output_type == "pil" else image,
            latents=made.latents,
            source_latents=made.source_latents,
            start=made.ticket.start,
        )
