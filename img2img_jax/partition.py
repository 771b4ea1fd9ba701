"""Where parameters lie on the mesh: one table, by kind of layer.

A pair of layers with something elementwise or headwise between them is split over ``tensor`` as Megatron-LM splits it
(Shoeybi et al. 1909.08053, sec. 3): the first by its outputs, the second by its inputs, so that one sum over the
devices closes the pair. Over ``fsdp`` the longest remaining axis of every large parameter is split, and put together
again just before use (Rajbhandari et al. 1910.02054, stage 3); what is computed is then the same on any number of
devices, bit for bit.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from img2img_jax.parallel import FSDP, TENSOR, axis_size

OUTPUTS, INPUTS = "outputs", "inputs"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerRule:
    """How one kind of layer is split over ``tensor``.

    Attributes:
      layers: regular expression that the end of a layer's path must match, names joined by slashes.
      split: ``"outputs"`` or ``"inputs"``: which channels each device has its share of.
    """

    layers: str
    split: str

    def __post_init__(self):
        if self.split not in (OUTPUTS, INPUTS):
            raise ValueError(f"split={self.split!r}; choose {OUTPUTS!r} or {INPUTS!r}")


LAYERS = (
    # UNet: heads, the feed-forward's inner channels, a residual block's channels between its convolutions.
    LayerRule(layers=r"attn\d/to_[qkv]", split=OUTPUTS),
    LayerRule(layers=r"attn\d/to_out/0", split=INPUTS),
    LayerRule(layers=r"ff/net/0/proj", split=OUTPUTS),
    LayerRule(layers=r"ff/net/2", split=INPUTS),
    LayerRule(layers=r"resnets/\d+/(conv1|time_emb_proj|norm2)", split=OUTPUTS),
    LayerRule(layers=r"resnets/\d+/conv2", split=INPUTS),
    # Text encoders.
    LayerRule(layers=r"self_attn/[qkv]_proj", split=OUTPUTS),
    LayerRule(layers=r"self_attn/out_proj", split=INPUTS),
    LayerRule(layers=r"mlp/fc1", split=OUTPUTS),
    LayerRule(layers=r"mlp/fc2", split=INPUTS),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Partition:
    """The rules.

    Attributes:
      layers: for ``tensor``; the first that matches counts, and layers that match none are on every device.
      smallest: parameters with fewer elements are not split over ``fsdp``: gathering them costs more than it saves.
    """

    layers: tuple[LayerRule, ...] = LAYERS
    smallest: int = 2**14

    def spec(self, path: Iterable[str | int], shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
        """Of one parameter.

        Args:
          path: names that lead to it, the parameter's own (``kernel``, ``bias``, ``scale``) last; what comes before the
            network, as in an optimiser's state, does not matter.
          shape: kernels are (..., inputs, outputs).
        """
        axes: list[str | None] = [None] * len(shape)
        split = self._tensor_axis([str(name) for name in path], len(shape))
        if split is not None and axis_size(mesh, TENSOR) > 1 and shape[split] % axis_size(mesh, TENSOR) == 0:
            axes[split] = TENSOR
        parts = axis_size(mesh, FSDP)
        if parts > 1 and math.prod(shape) >= self.smallest:
            free = [axis for axis, name in enumerate(axes) if name is None and shape[axis] % parts == 0]
            if free:
                axes[max(free, key=lambda axis: shape[axis])] = FSDP
        return PartitionSpec(*axes) if any(axes) else PartitionSpec()

    def _tensor_axis(self, path: list[str], ndim: int) -> int | None:
        layer = "/".join(path[:-1])
        rule = next((rule for rule in self.layers if re.search(f"(^|/)({rule.layers})$", layer)), None)
        if rule is None or not ndim:
            return None
        if path[-1] == "kernel":
            return ndim - 1 if rule.split == OUTPUTS else ndim - 2
        return 0 if rule.split == OUTPUTS and ndim == 1 else None  # a bias after the sum is added once, by every device

    def sharding(self, mesh: Mesh):
        """The function from a parameter's path and shape to its sharding that loading takes."""
        return lambda path, shape: NamedSharding(mesh, self.spec(path, shape, mesh))

    def specs(self, tree: Any, mesh: Mesh) -> Any:
        """A pytree of specs, for one of parameters, of an optimiser's state, or of both."""
        return jax.tree_util.tree_map_with_path(lambda path, leaf: self.spec(_names(path), leaf.shape, mesh), tree)

    def by_hand(self, tree: Any, mesh: Mesh) -> Any:
        """As ``specs``, for ``shard_map``: what is split over ``fsdp`` alone, since ``tensor`` is the compiler's."""
        return jax.tree.map(lambda spec: only(spec, FSDP), self.specs(tree, mesh))

    def shardings(self, tree: Any, mesh: Mesh) -> Any:
        """As ``specs``, on the mesh."""
        return jax.tree.map(lambda spec: NamedSharding(mesh, spec), self.specs(tree, mesh))


PARTITION = Partition()


def placed(tree: Any, shardings: Any) -> Any:
    """Values that every process has in full, each device with its part of them."""

    def place(leaf: Any, sharding: NamedSharding) -> jax.Array:
        if sharding.is_fully_addressable:
            return jax.device_put(leaf, sharding)
        return jax.make_array_from_callback(np.shape(leaf), sharding, np.asarray(leaf).__getitem__)

    return jax.tree.map(place, tree, shardings)


def fetched(tree: Any) -> Any:
    """The opposite: arrays that every process has in full. Those that it has already stay where they are."""

    def fetch(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return leaf
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(fetch, tree)


def rematerialised(loss: Callable[..., Any], specs: Sequence[Any], mesh: Mesh) -> Callable[..., Any]:
    """A loss whose first arguments lie split over ``fsdp``, and are put together where it needs them.

    On the way back they are put together again: kept, they would fill the memory that splitting them saves.

    Args:
      specs: of each of these arguments.
    """
    if axis_size(mesh, FSDP) == 1:
        return loss

    def gather(leaf: jax.Array, spec: PartitionSpec) -> jax.Array:
        return lax.with_sharding_constraint(leaf, NamedSharding(mesh, without(spec, FSDP)))

    def of_parts(*arguments: Any) -> Any:
        split, others = arguments[: len(specs)], arguments[len(specs) :]
        return loss(*jax.tree.map(gather, split, tuple(specs)), *others)

    return jax.checkpoint(of_parts, policy=lambda primitive, *_, **__: primitive.name != "sharding_constraint")


def whole(tree: Any) -> Any:
    """Arrays that lie split over ``fsdp`` with all of their parts on each of its devices; the others as they are."""
    return jax.tree.map(
        lambda leaf: (
            jax.device_put(leaf, NamedSharding(leaf.sharding.mesh, without(leaf.sharding.spec, FSDP)))
            if isinstance(leaf.sharding, NamedSharding) and _axis_of(leaf.sharding.spec, FSDP) is not None
            else leaf
        ),
        tree,
    )


def gathered(tree: Any, specs: Any, after: jax.Array) -> tuple[Any, jax.Array]:
    """As ``whole``, inside ``shard_map`` over ``fsdp``: weights put together, not before ``after`` is there.

    Without the barrier a compiler may move the gathering out of the sampling loop, whose weights do not change, and
    every device would hold all of them.

    Returns:
      the whole weights, and ``after``.
    """
    tree, after = lax.optimization_barrier((tree, after))

    def gather(leaf: jax.Array, spec: PartitionSpec) -> jax.Array:
        axis = _axis_of(spec, FSDP)
        return leaf if axis is None else lax.all_gather(leaf, FSDP, axis=axis, tiled=True)

    return jax.tree.map(gather, tree, specs), after


def without(spec: PartitionSpec, axis: str) -> PartitionSpec:
    """The spec with one axis of the mesh taken out."""
    return PartitionSpec(*(None if name == axis else name for name in spec))


def only(spec: PartitionSpec, axis: str) -> PartitionSpec:
    """The spec with all other axes of the mesh taken out."""
    return PartitionSpec(*(name if name == axis else None for name in spec))


def _axis_of(spec: PartitionSpec, name: str) -> int | None:
    return next((axis for axis, at in enumerate(spec) if at == name), None)


def _names(path: tuple[Any, ...]) -> list[str]:
    names = [jax.tree_util.keystr((key,), simple=True) for key in path]
    return names[:-1] if names and names[-1] == "value" else names  # the array inside an nnx.Param
