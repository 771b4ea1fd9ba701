"""Which of several processes this one is, and how they get to know each other.

Two ways to use many hosts. Trials of a run are dealt over them without a word between them (``Host.from_environment``,
and ``runs.run``): a host that dies takes nobody along. Training needs collectives, and so ``initialize``.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from img2img_jax import tpu_metadata

_ENVIRONMENTS = {
    "Slurm": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    "Open MPI": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
}
"""Variables that hold a process's place and the number of processes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Host:
    """One process of a job, with the devices that are its own.

    Attributes:
      index: 0 to count - 1.
      count: processes in the job.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self):
        if not 0 <= self.index < self.count:
            raise ValueError(f"host {self.index} of {self.count}: the index must be in 0 to {self.count - 1}")

    def takes(self, number: int) -> bool:
        """Whether piece ``number`` of the work is this host's; every piece is exactly one's."""
        return number % self.count == self.index

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Host:
        """As the launcher says: Slurm (srun), Open MPI (mpirun), Cloud TPU and GKE; the only host where none does.

        Args:
          environ: instead of this process's variables.

        Raises:
          ValueError: the launcher's variables contradict each other.
        """
        environ = os.environ if environ is None else environ
        for index, count in _ENVIRONMENTS.values():
            if index in environ and count in environ:
                return cls(index=int(environ[index]), count=int(environ[count]))
        if "TPU_WORKER_HOSTNAMES" not in environ:
            environ = dict(environ) | tpu_metadata.worker()
        if "TPU_WORKER_ID" in environ and "TPU_WORKER_HOSTNAMES" in environ:
            workers = len(environ["TPU_WORKER_HOSTNAMES"].split(","))
            first = workers * int(environ.get("MEGASCALE_SLICE_ID", 0))
            slices = int(environ.get("MEGASCALE_NUM_SLICES", 1))
            return cls(index=first + int(environ["TPU_WORKER_ID"]), count=workers * slices)
        return cls()


ALONE = Host()


def initialize(*, coordinator: str | None = None, count: int | None = None, index: int | None = None) -> Host:
    """Lets ``jax.devices()`` be the devices of all processes; to be called before anything else of JAX.

    Args:
      coordinator, count, index: address of process 0 ("host:port"), number of processes and this one's place. All
        or none: on Cloud TPU, Slurm, Open MPI and GKE, JAX finds them out.

    Raises:
      ValueError: some are given and some are not, or none is and JAX finds nothing.
    """
    import jax

    given = {"coordinator": coordinator, "count": count, "index": index}
    missing = [name for name, value in given.items() if value is None]
    if 0 < len(missing) < len(given):
        raise ValueError(f"{', '.join(missing)} must be given as well, or none of {', '.join(given)}")
    try:
        jax.distributed.initialize(coordinator_address=coordinator, num_processes=count, process_id=index)
    except ValueError as error:
        raise ValueError(
            f"the other processes cannot be found out ({error}); give coordinator, count and index, or leave "
            "initialize() out where there is one process"
        ) from error
    return Host(index=jax.process_index(), count=jax.process_count())
