"""One named mesh, and where batches lie on it.

Three axes: ``data`` and ``fsdp`` split the batch, ``fsdp`` and ``tensor`` split parameters (see
``img2img_jax.partition``). A device's coordinates say which samples it works on and which part of the weights it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

DATA, FSDP, TENSOR = "data", "fsdp", "tensor"
AXES = (DATA, FSDP, TENSOR)


def make_mesh(
    data: int | None = None, fsdp: int = 1, tensor: int = 1, *, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """A mesh with the axes ``data``, ``fsdp`` and ``tensor``, neighbours in ``devices`` side by side on the last.

    Args:
      data: groups of devices that share no weights and exchange nothing while they sample; by default as many as the
        devices allow.
      fsdp: devices that hold one copy of the weights between them, and gather them as they are needed
        (Rajbhandari et al. 1910.02054, stage 3). For what does not fit one chip.
      tensor: devices that work on the same samples, each on its heads and channels (Shoeybi et al. 1909.08053).
      devices: all of all processes by default. ``jax.local_devices()`` for those of this process.

    Raises:
      ValueError: the devices cannot be split like this.
    """
    if data is not None and not isinstance(data, int):
        raise TypeError(f"data={data!r} is no number of devices; a list of devices is given as devices=")
    devices = jax.devices() if devices is None else list(devices)
    for name, size in ((FSDP, fsdp), (TENSOR, tensor), (DATA, data)):
        if size is not None and size < 1:
            raise ValueError(f"{name}={size} is below 1; give the number of devices along this axis")
    if data is None:
        data = len(devices) // (fsdp * tensor)
    if data * fsdp * tensor != len(devices) or not data:
        raise ValueError(
            f"{len(devices)} devices do not split into fsdp={fsdp} x tensor={tensor} x data={data or 'any'}; choose "
            "sizes whose product is the number of devices, or give some of them as devices="
        )
    return Mesh(np.asarray(devices).reshape(data, fsdp, tensor), AXES)


def axis_size(mesh: Mesh, axis: str) -> int:
    """Devices along an axis; 1 for one that the mesh does not have."""
    return mesh.shape.get(axis, 1)


def batch_axes(mesh: Mesh) -> tuple[str, ...]:
    """The axes over which batches are split; always ``data``, whatever its size."""
    return (DATA, FSDP) if axis_size(mesh, FSDP) > 1 else (DATA,)


def batch_spec(mesh: Mesh, axis: int = 0) -> PartitionSpec:
    """Axis ``axis`` split over the batch's axes of the mesh."""
    axes = batch_axes(mesh)
    return PartitionSpec(*(None,) * axis, axes if len(axes) > 1 else axes[0])


def axes_by_hand(mesh: Mesh) -> set[str]:
    """For ``shard_map``: all axes but ``tensor``, whose layers the compiler splits as the weights are."""
    return set(mesh.axis_names) - ({TENSOR} if axis_size(mesh, TENSOR) > 1 else set())


def batch_devices(mesh: Mesh) -> int:
    """Into how many parts a batch is split."""
    return int(np.prod([mesh.shape[axis] for axis in batch_axes(mesh)]))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Axis ``axis`` split over the batch's axes of the mesh."""
    return NamedSharding(mesh, batch_spec(mesh, axis))


def shard_batch(batch: Any, mesh: Mesh, axis: int = 0) -> Any:
    """Puts a pytree of host arrays on the mesh, axis ``axis`` split.

    Args:
      batch: all samples; on a mesh of several processes those of this one alone, in the order of ``local_rows``.

    Raises:
      ValueError: that axis does not divide by the number of devices.
    """
    sharding = batch_sharding(mesh, axis)
    if not mesh.is_multi_process:
        return jax.device_put(batch, sharding)
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), batch)


def local_rows(size: int, mesh: Mesh) -> np.ndarray:
    """Which samples of a batch of ``size`` the devices of this process work on: indices, rising, int64.

    Raises:
      ValueError: the batch does not split evenly.
    """
    if size % batch_devices(mesh):
        raise ValueError(f"a batch of {size} does not split over {batch_devices(mesh)} devices; choose a multiple")
    slices = batch_sharding(mesh).addressable_devices_indices_map((size,)).values()
    return np.unique(np.concatenate([np.arange(size)[index] for index in slices]))


def padded_size(size: int, mesh: Mesh) -> int:
    """The smallest number of samples, at least ``size``, that splits evenly over the mesh."""
    parts = batch_devices(mesh)
    return -(-size // parts) * parts


class Placement:
    """Puts batches of one size on the mesh, their last sample repeated until they split evenly.

    Attributes:
      padding: how many samples at the end of a result are such copies, to be dropped.
    """

    def __init__(self, mesh: Mesh, size: int):
        self.mesh, self.padding = mesh, padded_size(size, mesh) - size

    def __call__(self, values: Any, axis: int = 0) -> jax.Array | None:
        """An array with the samples along ``axis``; None stays None."""
        if values is None:
            return None
        if self.padding:
            size = values.shape[axis]
            values = jnp.take(values, np.minimum(np.arange(size + self.padding), size - 1), axis=axis)
        return shard_batch(values, self.mesh, axis)

    def table(self, table: Any) -> Any:
        """A pytree of arrays per sample, and of scalars for all."""
        return jax.tree.map(
            lambda leaf: self(leaf) if leaf.ndim else jax.device_put(leaf, replicated(self.mesh)), table
        )
