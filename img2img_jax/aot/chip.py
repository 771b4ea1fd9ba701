"""TPU chips and slices, by the names Google gives them."""

from __future__ import annotations

import dataclasses
import os

import jax


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """One generation.

    Attributes:
      name: as topologies begin.
      peak_flops: published, bfloat16, per second and chip.
      clock: Hz; ``peak_flops`` is this times the products and sums of the matrix units in a cycle.
      memory: bytes of HBM that the compiler lets a program have.
    """

    name: str
    peak_flops: float
    clock: float
    memory: int


_GIB = 2**30
CHIPS = {
    chip.name: chip
    for chip in (
        Chip(name="v5e", peak_flops=197e12, clock=1.5e9, memory=int(15.75 * _GIB)),
        Chip(name="v5p", peak_flops=459e12, clock=1.75e9, memory=int(95.73 * _GIB)),
        Chip(name="v6e", peak_flops=918e12, clock=1.75e9, memory=int(31.24 * _GIB)),
    )
}


def chip_of(topology: str) -> Chip:
    """The chip of a slice such as "v5e:4x4".

    Raises:
      ValueError: another generation.
    """
    name = topology.split(":")[0]
    if name not in CHIPS:
        raise ValueError(f"topology={topology!r} begins with no known chip; choose one of {', '.join(CHIPS)}")
    return CHIPS[name]


def slice_devices(topology: str) -> list[jax.Device]:
    """The devices of a slice, to compile for and not to run on.

    Args:
      topology: chip and shape: "v5e:1x1" to "v5e:16x16", "v6e:4x4", "v5p:2x2x1", ...

    Raises:
      ValueError: there is no such slice.
      RuntimeError: libtpu is not installed.
    """
    chip_of(topology)
    # It would ask the cloud for the machine it is on, and let no second process compile beside it.
    for name, value in (("TPU_SKIP_MDS_QUERY", "1"), ("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")):
        os.environ.setdefault(name, value)
    from jax.experimental import topologies

    try:
        import libtpu  # noqa: F401
    except ImportError as error:
        raise RuntimeError("libtpu, the TPU compiler, is not installed: pip install 'img2img_jax[aot]'") from error
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices)
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(f"topology={topology!r} is no slice that can be compiled for: {error}") from error
