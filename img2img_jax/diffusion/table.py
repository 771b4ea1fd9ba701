"""The sampling table: everything about a batch's sampling that is data."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from .solvers.base import BASIS
from .strength import Run

# Tables are padded to a multiple of this many rows, so that runs of different lengths share one executable.
BUCKET = 64
_PADDING = {"clip": np.inf}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SamplingTable:
    """The rows of every sample of a batch, left-aligned; a pytree of arrays.

    B samples, L rows. All but ``trip_count`` have the batch as their leading axis. Rows from
    ``evaluations[b]`` on are padding.

    Attributes:
        image_weight: [B] float32; x_start = image_weight x_0 + noise_weight noise.
        noise_weight: [B] float32.
        evaluations: [B] int32, the rows of each sample.
        trip_count: [] int32, the most rows of any sample.
        timestep: [B, L] float32, what the network is told, in [0, T-1].
        convert: [B, L, 2] float32, (p, q): m_0 = clip(p x + q output).
        clip: [B, L] float32, m_0 lies in [-clip, clip]; inf for no clipping.
        x: [B, L, 8] float32, the next state on (x, saved, output, m0, m1, m2, m3, noise).
        saved: [B, L, 8] float32, the next saved tensor on the same.
    """

    image_weight: jax.Array
    noise_weight: jax.Array
    evaluations: jax.Array
    trip_count: jax.Array
    timestep: jax.Array
    convert: jax.Array
    clip: jax.Array
    x: jax.Array
    saved: jax.Array


def tabulate(runs: Sequence[Run], rows: int) -> SamplingTable:
    """Lays the runs of a batch side by side.

    Args:
        runs: one per sample.
        rows: the most rows any run may have; not taken from ``runs``, so that the shape does not depend on
            strength.

    Returns:
        A table of NumPy arrays, L = ``rows`` rounded up to a multiple of ``BUCKET``.
    """
    batch, length = len(runs), -(-rows // BUCKET) * BUCKET
    table = SamplingTable(
        image_weight=np.array([run.image_weight for run in runs], np.float32),
        noise_weight=np.array([run.noise_weight for run in runs], np.float32),
        evaluations=np.array([len(run.rows) for run in runs], np.int32),
        trip_count=np.array(max(len(run.rows) for run in runs), np.int32),
        timestep=np.zeros((batch, length), np.float32),
        convert=np.zeros((batch, length, 2), np.float32),
        clip=np.full((batch, length), _PADDING["clip"], np.float32),
        x=np.zeros((batch, length, len(BASIS)), np.float32),
        saved=np.zeros((batch, length, len(BASIS)), np.float32),
    )
    for b, run in enumerate(runs):
        for name in ("timestep", "convert", "clip", "x", "saved"):
            getattr(table, name)[b, : len(run.rows)] = np.reshape(
                [getattr(row, name) for row in run.rows], (len(run.rows), *getattr(table, name).shape[2:])
            )
    return table


def lengthened(table: SamplingTable, rows: int) -> SamplingTable:
    """A host table with rows of padding up to ``rows``, at least as many as it has."""

    def longer(name: str, values):
        if np.ndim(values) < 2:
            return values
        widths = [(0, rows - values.shape[1] if axis == 1 else 0) for axis in range(values.ndim)]
        return np.pad(values, widths, constant_values=_PADDING.get(name, 0))

    fields = {field.name: getattr(table, field.name) for field in dataclasses.fields(table)}
    return SamplingTable(**{name: longer(name, values) for name, values in fields.items()})
