"""One named mesh, and where arrays lie on it: batches split over ``data``, parameters on every device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

DATA = "data"


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A one-axis mesh named ``data`` over ``devices`` (all of them by default)."""
    return Mesh(np.asarray(jax.devices() if devices is None else devices), (DATA,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Axis ``axis`` split over the ``data`` axis of the mesh."""
    return NamedSharding(mesh, PartitionSpec(*(None,) * axis, DATA))


def shard_batch(batch: Any, mesh: Mesh, axis: int = 0) -> Any:
    """Puts a pytree of host arrays on the mesh, axis ``axis`` split.

    Raises:
      ValueError: that axis does not divide by the number of devices.
    """
    return jax.device_put(batch, batch_sharding(mesh, axis))


def padded_size(size: int, mesh: Mesh) -> int:
    """The smallest multiple of the mesh's data axis that holds ``size`` samples."""
    devices = mesh.shape[DATA]
    return -(-size // devices) * devices
