"""The programs of a call, traced with shapes on a mesh: texts, encode, the loop and one step of it, decode.

And the UNet's longest attention alone, which compiles in seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend import core
from jax.sharding import Mesh, Sharding, SingleDeviceSharding

from img2img_jax import programs, rng
from img2img_jax.aot.networks import Networks
from img2img_jax.parallel import batch_sharding, replicated
from img2img_jax.types import AddedConditions

STAGES = ("step", "loop", "encode", "decode", "text_encoder", "text_encoder_2", "attention")
STEPS = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """A program, traced and not yet compiled.

    Attributes:
      name: one of ``STAGES``.
      samples: a chip works on at once; with guidance, the UNet has two rows of each.
      traced: what ``jax.jit`` made of it, with the jaxpr that FLOPs are counted in.
    """

    name: str
    samples: int
    traced: Any


def stages(
    networks: Networks, mesh: Mesh, *, resolution: int, samples: int, names: Sequence[str] = STAGES
) -> Iterator[Stage]:
    """The programs of a guided call by DDIM, those that the model has, in the order of ``names``.

    Args:
      mesh: of a slice's devices, with the one axis ``data``.
      resolution: side of the pictures in pixels, a multiple of the VAE's ``downscale_factor``.
      samples: for each device.

    Raises:
      ValueError: a name that is none of ``STAGES``, or a resolution that the VAE cannot encode.
    """
    unknown = set(names) - set(STAGES)
    if unknown:
        raise ValueError(f"stages {sorted(unknown)} are not known; choose among {', '.join(STAGES)}")
    factor = networks.vae.downscale_factor
    if resolution % factor:
        raise ValueError(f"resolution={resolution} is no multiple of {factor}, the pixels of a latent")
    shapes = _Shapes(networks=networks, mesh=mesh, resolution=resolution, batch=samples * mesh.size)
    trace: Mapping[str, Callable[[], Any]] = {
        "step": shapes.step,
        "loop": shapes.loop,
        "encode": shapes.encode,
        "decode": shapes.decode,
        "attention": shapes.attention,
    }
    for name in names:
        if name in trace:
            yield Stage(name=name, samples=samples, traced=trace[name]())
        elif name in networks.texts:
            yield Stage(name=name, samples=samples, traced=shapes.text(name))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shapes:
    """Arguments of the programs, with their places on the mesh, and the programs traced with them."""

    networks: Networks
    mesh: Mesh
    resolution: int
    batch: int

    def _rows(self, *shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self.batch, *shape), dtype, sharding=batch_sharding(self.mesh))

    def _weights(self, network: nnx.Module, place: Sharding | None = None) -> tuple[nnx.GraphDef, Any]:
        graphdef, state = nnx.split(network)
        place = replicated(self.mesh) if place is None else place
        return graphdef, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), state)

    @property
    def _first(self) -> SingleDeviceSharding:
        """For what one device does by itself, and all do alike."""
        return SingleDeviceSharding(self.mesh.devices.flat[0])

    def _guided(self, *shape: int, dtype: Any) -> jax.ShapeDtypeStruct:
        """Two rows of each sample on the first device."""
        return jax.ShapeDtypeStruct((2 * self.batch // self.mesh.size, *shape), dtype, sharding=self._first)

    def _keys(self) -> jax.ShapeDtypeStruct:
        return self._rows(dtype=jax.eval_shape(lambda: rng.sample_keys(0)).dtype)

    def _latents(self) -> jax.ShapeDtypeStruct:
        side = self.resolution // self.networks.vae.downscale_factor
        return self._rows(side, side, self.networks.vae.config.latent_channels)

    def _table(self) -> Any:
        table, _ = self.networks.scheduler("ddim").table([1.0], STEPS)
        everywhere = replicated(self.mesh)
        return jax.tree.map(
            lambda leaf: (
                self._rows(*leaf.shape[1:], dtype=leaf.dtype)
                if leaf.ndim
                else jax.ShapeDtypeStruct((), leaf.dtype, sharding=everywhere)
            ),
            table,
        )

    def loop(self) -> Any:
        """``programs.denoise`` with guidance: of the loop's body, which the compiler prices once, one step's."""
        unet = self.networks.unet
        config = unet.config
        length = next(iter(self.networks.texts.values())).config.max_position_embeddings
        added = None
        if config.takes_sizes:
            pooled = self.networks.texts["text_encoder_2"].config.projection_dim
            numbers = (config.projection_class_embeddings_input_dim - pooled) // config.addition_time_embed_dim
            added = AddedConditions(self._rows(2, pooled), self._rows(2, numbers))
        graphdef, state = self._weights(unet)
        return programs.denoise.trace(
            graphdef,
            self.mesh,
            state,
            self._table(),
            self._latents(),
            self._rows(2, length, config.cross_attention_dim),
            self._rows(),
            jax.ShapeDtypeStruct((), jnp.float32, sharding=replicated(self.mesh)),
            None if config.time_cond_proj_dim is None else self._rows(config.time_cond_proj_dim),
            added,
            self._keys(),
            None,
            None,
        )

    def step(self) -> Any:
        """The body of that loop, on one device of the mesh: its own samples and the whole of the weights."""
        body = _loop_body(self.loop().jaxpr.jaxpr)
        arguments = [jax.ShapeDtypeStruct(var.shape, var.dtype, sharding=self._first) for var in body.in_avals]
        return jax.jit(core.jaxpr_as_fun(body)).trace(*arguments)

    def encode(self) -> Any:
        pictures = self._rows(self.resolution, self.resolution, 3)
        return programs.encode.trace(*self._weights(self.networks.vae), pictures, self._keys(), None, mesh=self.mesh)

    def decode(self) -> Any:
        return programs.decode.trace(*self._weights(self.networks.vae), self._latents(), mesh=self.mesh)

    def attention(self) -> Any:
        """Attention of a picture's tokens to each other, projections included, at the finest level that has it."""
        config = self.networks.unet.config
        level = next(i for i, block in enumerate(config.down_block_types) if "CrossAttn" in block)
        side, channels = self._latents().shape[1] // 2**level, config.block_out_channels[level]
        example = self.networks.unet.down_blocks[level].attentions[0].transformer_blocks[0].attn1
        tokens = self._guided(side**2, channels, dtype=self.networks.unet.dtype)
        graphdef, state = self._weights(example, self._first)
        return jax.jit(lambda state, tokens: nnx.merge(graphdef, state)(tokens)).trace(state, tokens)

    def text(self, name: str) -> Any:
        """One text encoder on the prompts and the negative prompts of one device's samples."""
        network = self.networks.texts[name]
        ids = self._guided(network.config.max_position_embeddings, dtype=jnp.int32)
        penultimate = self.networks.unet.config.takes_sizes
        return programs.read_prompts.trace(*self._weights(network, self._first), ids, penultimate=penultimate)


def _loop_body(jaxpr: core.Jaxpr) -> core.ClosedJaxpr | None:
    """What the first loop of unknown length does in a turn."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "while":
            return equation.params["body_jaxpr"]
        for inner in core.jaxprs_in_params(equation.params):
            if (body := _loop_body(inner)) is not None:
                return body
    return None
