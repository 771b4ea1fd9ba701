"""The samples that a device works on at a time, each at its own row of its own table, and the programs on them."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, UInt32

from img2img_jax import programs, rng
from img2img_jax.diffusion import sample
from img2img_jax.diffusion.sample import LoopState
from img2img_jax.diffusion.table import SamplingTable
from img2img_jax.parallel import axes_by_hand, batch_sharding, batch_spec
from img2img_jax.partition import Partition
from img2img_jax.types import AddedConditions, Latents


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What each of b samples is to become: a pytree with b in front of every leaf.

    Attributes:
      table: of its sampler and strength; without a ``trip_count``.
      seed: of its keys.
      text, guidance_scale, guidance_rescale, timestep_cond, added: as for ``programs.denoise``, all per sample.
    """

    table: SamplingTable
    seed: UInt32[Array, " b"]
    text: Float[Array, "b 1|2 L d"]
    guidance_scale: Float[Array, " b"]
    guidance_rescale: Float[Array, " b"]
    timestep_cond: Float[Array, "b e"] | None
    added: AddedConditions | None

    @property
    def keys(self) -> Array:
        """The keys that ``rng.sample_keys`` gives for the seeds."""
        return rng.keys_of(self.seed, jnp.zeros_like(self.seed))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Slots:
    """Samples under way: how far they are, and what they are to become."""

    state: LoopState
    task: Task


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=4)
def swap(
    graphdef: nnx.GraphDef,
    mesh: Mesh,
    partition: Partition,
    vae: nnx.State,
    slots: Slots,
    place: Int[Array, " devices"],
    posterior: programs.Posterior,
    task: Task,
) -> tuple[Slots, Latents, Latents]:
    """Puts a new sample into one slot of each device, and hands out what was there.

    Devices are here those that have slots of their own: those of a ``tensor`` axis share theirs, and count as one.

    Args:
      graphdef, vae: of the VAE; only its scale is read.
      partition: by which weights lie on the mesh.
      slots: [devices * slots, ...], given up.
      place: the slot on each device; on one with no such slot, nothing is put.
      posterior, task: [devices, ...], one sample for each device. The latents and the noise are drawn here, by seed.

    Returns:
      The slots, the states [devices, h, w, c] of the samples that were there, and the latents [devices, h, w, c] that
      the new ones were encoded to.
    """
    per_device = batch_spec(mesh)
    swapped = jax.shard_map(
        partial(_swap, graphdef),
        mesh=mesh,
        in_specs=(partition.by_hand(vae, mesh), per_device, per_device, per_device, per_device),
        out_specs=(per_device, per_device, per_device),
        axis_names=axes_by_hand(mesh),
        check_vma=False,
    )(vae, slots, place, posterior, task)
    return _in_place(swapped, mesh)


def _swap(graphdef, vae, slots, place, posterior, task):
    there = lax.dynamic_index_in_dim(slots.state.x, place[0])
    latents = programs.draw(graphdef, vae, posterior, task.keys)
    noise = rng.normal(rng.stream(task.keys, "noise"), latents.shape[1:])
    new = Slots(state=LoopState.enter(sample.start(task.table, latents, noise)), task=task)
    slots = jax.tree.map(lambda all_, one: all_.at[place[0]].set(one[0], mode="drop"), slots, new)
    return slots, there, latents


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=4)
def advance(
    graphdef: nnx.GraphDef,
    mesh: Mesh,
    partition: Partition,
    unet: nnx.State,
    state: LoopState,
    task: Task,
    rows: Int[Array, ""],
) -> LoopState:
    """Takes every slot ``rows`` rows further, or to the end of its table. ``state`` is given up.

    Args:
      mesh, partition: as for ``programs.denoise``.
    """
    per_device, specs = batch_spec(mesh), partition.by_hand(unet, mesh)
    advanced = jax.shard_map(
        partial(_advance, graphdef, specs),
        mesh=mesh,
        in_specs=(specs, per_device, per_device, PartitionSpec()),
        out_specs=per_device,
        axis_names=axes_by_hand(mesh),
        check_vma=False,
    )(unet, state, task, rows)
    return _in_place(advanced, mesh)


def _in_place(rows: Any, mesh: Mesh) -> Any:
    """Rows where they came from: left to the compiler, ``tensor`` could split them, and the next call compile anew."""
    return lax.with_sharding_constraint(rows, batch_sharding(mesh))


def _advance(graphdef, specs, unet, state, task, rows):
    predict = programs.guided(
        programs.network(graphdef, unet, specs),
        task.text,
        task.guidance_scale,
        task.guidance_rescale,
        task.timestep_cond,
        task.added,
    )
    return sample.advance(predict, state, task.table, rows, step_keys=rng.stream(task.keys, "step"))
