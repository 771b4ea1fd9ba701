"""The four compiled programs of img2img: read the prompt, encode, denoise, decode.

Each takes a network as (graphdef, state): the graphdef is static, the weights are data. Everything that varies per
sample is data too, so that strengths, scales, seeds and prompts never recompile anything.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float

from img2img_jax import rng
from img2img_jax.diffusion.guidance import guide
from img2img_jax.diffusion.sample import sample, start
from img2img_jax.diffusion.table import SamplingTable
from img2img_jax.models.vae_tiling import tiled_decode, tiled_encode
from img2img_jax.parallel import FSDP, axes_by_hand, batch_spec
from img2img_jax.partition import PARTITION, Partition, gathered
from img2img_jax.types import AddedConditions, Image, Latents, TextStates, TokenIds


@partial(jax.jit, static_argnums=0, static_argnames=("clip_skip", "penultimate"))
def read_prompts(
    graphdef: nnx.GraphDef,
    state: nnx.State,
    input_ids: TokenIds,
    *,
    clip_skip: int = 0,
    penultimate: bool = False,
) -> tuple[TextStates, Float[Array, "b p"]]:
    """States of token ids, and the pooled state of each prompt.

    Args:
      clip_skip: layers at the end to leave out; the pooled state has passed them all with ``penultimate``.
      penultimate: states as they leave the layer before the last, as SDXL reads them, instead of the final ones.
    """
    model = nnx.merge(graphdef, state)
    if not penultimate:
        output = model(input_ids, clip_skip=clip_skip)
        return output.last_hidden_state, output.pooled
    output = model(input_ids)
    return output.hidden_states[-2 - clip_skip], output.pooled


@partial(jax.jit, static_argnums=0, static_argnames=("mesh", "tile_size"))
def encode(
    graphdef: nnx.GraphDef,
    state: nnx.State,
    images: Image,
    keys: Array,
    posterior_noise: Latents | None,
    *,
    mesh: Mesh | None = None,
    tile_size: int | None = None,
) -> Latents:
    """Scaled latents of images, drawn from the posterior with ``posterior_noise`` or else with ``keys``.

    Args:
      mesh: each device of its batch axes works on its own samples, with whole weights; None where there is one device.
      tile_size: pixels along a side of the tiles that the VAE works in; None for the whole picture at once.
    """

    def encoded(state: nnx.State, images: Image, keys: Array, noise: Latents | None) -> Latents:
        vae = nnx.merge(graphdef, state)
        return _draw(vae, _posterior(vae, images, tile_size), keys, noise)

    return _by_sample(encoded, mesh)(state, images, keys, posterior_noise)


class Posterior(NamedTuple):
    """What a VAE makes of pictures before anything is drawn, unscaled; ``logvar`` None if nothing is drawn."""

    mean: Float[Array, "b h w c"]
    logvar: Float[Array, "b h w c"] | None


@partial(jax.jit, static_argnums=0, static_argnames=("mesh", "tile_size"))
def posterior(
    graphdef: nnx.GraphDef,
    state: nnx.State,
    images: Image,
    *,
    mesh: Mesh | None = None,
    tile_size: int | None = None,
) -> Posterior:
    """The part of ``encode`` that does not depend on seeds."""

    def found(state: nnx.State, images: Image) -> Posterior:
        return _posterior(nnx.merge(graphdef, state), images, tile_size)

    return _by_sample(found, mesh)(state, images)


@partial(jax.jit, static_argnums=0)
def draw(graphdef: nnx.GraphDef, state: nnx.State, posterior: Posterior, keys: Array) -> Latents:
    """The rest of ``encode``."""
    return _draw(nnx.merge(graphdef, state), posterior, keys, None)


def _posterior(vae: nnx.Module, images: Image, tile_size: int | None) -> Posterior:
    return Posterior(*(vae.encode(images) if tile_size is None else tiled_encode(vae, images, tile_size)))


def _draw(vae: nnx.Module, posterior: Posterior, keys: Array, noise: Latents | None) -> Latents:
    mean, logvar = posterior
    if logvar is None:
        return vae.scale(mean)
    if noise is None:
        noise = rng.normal(rng.stream(keys, "posterior"), mean.shape[1:])
    return vae.scale(mean + jnp.exp(0.5 * logvar) * noise)


@partial(jax.jit, static_argnums=(0, 1, 13))
def denoise(
    graphdef: nnx.GraphDef,
    mesh: Mesh,
    state: nnx.State,
    table: SamplingTable,
    latents: Latents,
    text: Float[Array, "b 1|2 L d"],
    guidance_scale: Float[Array, " b"],
    guidance_rescale: Float[Array, ""],
    timestep_cond: Float[Array, "b e"] | None,
    added: AddedConditions | None,
    keys: Array,
    noise: Latents | None,
    step_noise: Float[Array, "steps b h w c"] | None,
    partition: Partition = PARTITION,
) -> Latents:
    """Noises ``latents`` to each sample's start and integrates back to zero.

    Args:
      mesh: every device of its ``data`` axis runs its own samples and waits for no other. Those of an ``fsdp`` axis
        do too, but gather each other's weights in every step; those of a ``tensor`` axis share their samples.
      text: states of the prompt; or of the negative prompt and the prompt, which switches classifier-free guidance
        (Ho & Salimans 2207.12598) on and doubles the batch of the network.
      timestep_cond: LCM's guidance embedding, where the network takes one.
      added: SDXL's other conditions, [b, 1|2, ...] as ``text``, where the network takes them.
      noise, step_noise: given instead of drawn from ``keys``.
      partition: by which ``state`` lies on the mesh.
    """
    rows, everywhere = batch_spec(mesh), PartitionSpec()
    table_rows = jax.tree.map(lambda leaf: rows if leaf.ndim else everywhere, table)
    specs = partition.by_hand(state, mesh)
    # Left to the compiler, the loop would ask all devices in every step whether any of their samples draws noise.
    on_each_device = jax.shard_map(
        partial(_denoise, graphdef, specs),
        mesh=mesh,
        in_specs=(
            *(specs, table_rows, rows, rows, rows, everywhere),
            *(rows, rows, rows, rows, batch_spec(mesh, axis=1)),
        ),
        out_specs=rows,
        axis_names=axes_by_hand(mesh),
        check_vma=False,
    )
    return on_each_device(
        state, table, latents, text, guidance_scale, guidance_rescale, timestep_cond, added, keys, noise, step_noise
    )


def _denoise(
    graphdef,
    specs,
    state,
    table,
    latents,
    text,
    guidance_scale,
    guidance_rescale,
    timestep_cond,
    added,
    keys,
    noise,
    step_noise,
):
    unet = network(graphdef, state, specs)
    predict = guided(unet, text, guidance_scale, guidance_rescale, timestep_cond, added)
    if noise is None:
        noise = rng.normal(rng.stream(keys, "noise"), latents.shape[1:])
    step_keys = rng.stream(keys, "step") if step_noise is None else None
    x = start(table, latents, noise)
    return sample(predict, x, table, step_keys=step_keys, step_noise=step_noise)


def guided(
    unet: Callable[..., Latents],
    text: Float[Array, "b 1|2 L d"],
    guidance_scale: Float[Array, " b"],
    guidance_rescale: Float[Array, " b"] | Float[Array, ""],
    timestep_cond: Float[Array, "b e"] | None,
    added: AddedConditions | None,
) -> Callable[[Latents, Float[Array, " b"]], Latents]:
    """What the sampling loop takes for a network: (x, timestep) to the guided prediction, float32.

    Arguments as of ``denoise``.
    """
    prompts = text.shape[1]
    states, added = jax.tree.map(lambda rows: rows.reshape(-1, *rows.shape[2:]), (text, added))
    condition = None if timestep_cond is None else jnp.repeat(timestep_cond, prompts, axis=0)

    def predict(x: Latents, timestep: Float[Array, " b"]) -> Latents:
        shape = x.shape[1:]
        x, timestep = jnp.repeat(x, prompts, axis=0), jnp.repeat(timestep, prompts)
        output = unet(x, timestep, states, condition, added).astype(jnp.float32).reshape(-1, prompts, *shape)
        if prompts == 1:
            return output[:, 0]
        return guide(output[:, 0], output[:, 1], guidance_scale, guidance_rescale)

    return predict


def network(graphdef: nnx.GraphDef, state: nnx.State, specs: nnx.State) -> Callable[..., Latents]:
    """A network inside ``shard_map``; weights that lie split are put together for each evaluation, then dropped.

    ``specs``: by which they lie (``Partition.by_hand``).
    """
    if not any(FSDP in spec for spec in jax.tree.leaves(specs)):
        return nnx.merge(graphdef, state)

    def gathering(x: Latents, *conditions) -> Latents:
        held, x = gathered(state, specs, x)
        return nnx.merge(graphdef, held)(x, *conditions)

    return gathering


@partial(jax.jit, static_argnums=0, static_argnames=("mesh", "tile_size"))
def decode(
    graphdef: nnx.GraphDef,
    state: nnx.State,
    latents: Latents,
    *,
    mesh: Mesh | None = None,
    tile_size: int | None = None,
) -> Image:
    """Images of scaled latents, clipped to [-1, 1]; ``mesh`` and ``tile_size`` as in ``encode``."""

    def decoded(state: nnx.State, latents: Latents) -> Image:
        vae = nnx.merge(graphdef, state)
        raw = vae.unscale(latents)
        return jnp.clip(vae.decode(raw) if tile_size is None else tiled_decode(vae, raw, tile_size), -1.0, 1.0)

    return _by_sample(decoded, mesh)(state, latents)


def _by_sample(function: Callable[..., Any], mesh: Mesh | None) -> Callable[..., Any]:
    """``function`` of whole weights and batches, on each device of ``mesh`` for the samples that lie there.

    The compiler cannot split a Pallas kernel, such as that of long attention on a TPU.
    """
    if mesh is None:
        return function
    rows = batch_spec(mesh)

    def on_each_device(state: nnx.State, *batches: Any) -> Any:
        mapped = jax.shard_map(
            lambda state, batches: function(state, *batches),
            mesh=mesh,
            in_specs=(PartitionSpec(), rows),
            out_specs=rows,
            axis_names=axes_by_hand(mesh),
            check_vma=False,
        )
        return mapped(state, batches)

    return on_each_device
