"""The jobs of one executable on their way through the slots."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from img2img_jax import images, programs
from img2img_jax.conditioning import Condition
from img2img_jax.diffusion.sample import LoopState
from img2img_jax.engine import slots as compiled
from img2img_jax.engine.decoder import Decoder, Made
from img2img_jax.engine.encoder import Encoder
from img2img_jax.engine.slots import Slots, Task
from img2img_jax.engine.statistics import Statistics
from img2img_jax.engine.ticket import Ticket
from img2img_jax.engine.timetable import Move, Round, timetable
from img2img_jax.parallel import batch_devices, shard_batch
from img2img_jax.partition import whole
from img2img_jax.pipeline import Img2ImgPipeline

Leaving = list[tuple[Sequence[Move], jax.Array]]
"""Moves, and the states [devices, h, w, c] that they took out."""


class Flight:
    """Carries a timetable out, the host ahead of the devices."""

    def __init__(
        self,
        pipe: Img2ImgPipeline,
        tickets: Sequence[Ticket],
        conditions: Mapping[tuple, Condition],
        *,
        slots: int,
        vae_batch: int,
        vae_tile_size: int | None,
        decode: bool,
        statistics: Statistics,
    ):
        self._pipe, self._tickets, self._conditions = pipe, tickets, conditions
        self._places, self._devices = (pipe.mesh, pipe.partition), batch_devices(pipe.mesh)
        self._count, self._tile_size, self._statistics = slots, vae_tile_size, statistics
        lengths = [ticket.start.network_evaluations for ticket in tickets]
        self._rounds = timetable(lengths, devices=self._devices, slots=slots)
        moves = [move for each in self._rounds for swap in each.swaps for move in swap]
        entering = [tickets[move.entering] for move in moves if move.entering is not None]
        self._encoder = Encoder(self._encode, entering, vae_batch)
        statistics.pictures_encoded += len(self._encoder)
        self._decoder = Decoder(self._decode, vae_batch) if decode else None
        self._source_latents: dict[int | None, tuple[jax.Array, int]] = {}
        self._nothing: tuple[programs.Posterior, Task] | None = None

    def results(self) -> Iterator[Made]:
        """Every job's result, as soon as it is there."""
        slots, under_way = self._empty(), deque()
        for each in self._rounds:
            slots, leaving = self._launch(slots, each)
            under_way.append(leaving)
            # The devices now have this chunk, and maybe the one before it, still to do.
            yield from self._decoded()
            if len(under_way) > 1:
                yield from self._landed(under_way.popleft())
        for leaving in under_way:
            yield from self._landed(leaving)
        if self._decoder is not None:
            self._decoder.flush()
            yield from self._decoded()

    def _launch(self, slots: Slots, each: Round) -> tuple[Slots, Leaving]:
        leaving = []
        for moves in each.swaps:
            slots, there = self._swap(slots, moves)
            if any(move.leaving is not None for move in moves):
                leaving.append((moves, there))
        if each.rows:
            graphdef, unet = self._pipe.split_unet
            state = compiled.advance(graphdef, *self._places, unet, slots.state, slots.task, np.int32(each.rows))
            slots = dataclasses.replace(slots, state=state)
            self._statistics.chunks += 1
            self._statistics.slot_steps += each.rows * self._count * self._devices
        return slots, leaving

    def _swap(self, slots: Slots, moves: Sequence[Move]) -> tuple[Slots, jax.Array]:
        entries = {}
        for move in moves:
            if move.entering is not None:
                ticket = self._tickets[move.entering]
                entries[move.device] = self._encoder(ticket), self._task(ticket)
        if self._nothing is None:
            self._nothing = jax.tree.map(np.zeros_like, next(iter(entries.values())))
        rows = [entries.get(device, self._nothing) for device in range(self._devices)]
        entered = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
        # On a device that nothing happens to, a place that no slot has.
        place = np.full(self._devices, self._count, np.int32)
        for move in moves:
            place[move.device] = move.slot
        graphdef, vae = self._pipe.split_vae
        slots, there, latents = compiled.swap(graphdef, *self._places, vae, slots, *self._placed((place, *entered)))
        self._source_latents |= {move.entering: (latents, move.device) for move in moves}
        return slots, there

    def _task(self, ticket: Ticket) -> Task:
        """Without a batch in front."""
        condition = self._conditions[ticket.condition]
        return Task(
            table=jax.tree.map(lambda leaf: leaf[0], ticket.whole_table),
            seed=ticket.seed[0],
            text=condition.text,
            guidance_scale=np.maximum(ticket.scale, 1)[0],
            guidance_rescale=np.float32(ticket.job.guidance_rescale),
            timestep_cond=ticket.timestep_cond,
            added=condition.added,
        )

    def _empty(self) -> Slots:
        """Slots whose tables have no rows."""
        size = self._count * self._devices
        task = jax.tree.map(
            lambda leaf: np.zeros((size, *np.shape(leaf)), np.asarray(leaf).dtype), self._task(self._tickets[0])
        )
        shape = size, *self._pipe.latent_shape(self._tickets[0].size)
        # Each an array of its own: the programs work in place.
        tensors = {name: np.zeros(shape, np.float32) for name in ("x", "saved", "m1", "m2", "m3")}
        state = LoopState(row=np.zeros(size, np.int32), **tensors)
        return self._placed(Slots(state=state, task=task))

    def _placed(self, batch: Any) -> Any:
        return shard_batch(batch, self._pipe.mesh)

    def _encode(self, pixels: np.ndarray) -> programs.Posterior:
        graphdef, vae = self._pipe.split_vae
        options = dict(mesh=self._pipe.mesh, tile_size=self._tile_size)
        return programs.posterior(graphdef, whole(vae), self._placed(pixels), **options)

    def _decode(self, latents: np.ndarray) -> jax.Array:
        graphdef, vae = self._pipe.split_vae
        options = dict(mesh=self._pipe.mesh, tile_size=self._tile_size)
        return programs.decode(graphdef, whole(vae), self._placed(latents), **options)

    def _landed(self, leaving: Leaving) -> Iterator[Made]:
        """Fetches samples that have left their slots; hands them out, or on to the decoder."""
        for moves, there in leaving:
            latents = np.asarray(there)
            for move in moves:
                if move.leaving is not None:
                    yield from self._finished(move.leaving, latents[move.device].copy())

    def _finished(self, job: int, latents: np.ndarray) -> Iterator[Made]:
        ticket, (source_latents, device) = self._tickets[job], self._source_latents.pop(job)
        made = Made(ticket=ticket, latents=latents, source_latents=np.asarray(source_latents)[device].copy())
        self._statistics.useful_slot_steps += ticket.start.network_evaluations
        if self._decoder is None:
            yield made
        elif ticket.start.strength == 0:
            # The input itself, not what the VAE makes of it.
            yield dataclasses.replace(made, picture=images.as_unit(ticket.pixels))
        else:
            self._decoder.add(made)

    def _decoded(self) -> Iterator[Made]:
        if self._decoder is not None:
            yield from self._decoder.results()
