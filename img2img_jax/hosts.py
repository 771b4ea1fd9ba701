"""Which of several processes this one is, and how they get to know each other.

Two ways to use many hosts. Trials of a run are dealt over them without a word between them (``Host.from_environment``,
and ``runs.run``): a host that dies takes nobody along. Training needs collectives, and so ``initialize``.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping

from absl import logging

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
    def parse(cls, text: str) -> Host:
        """A place as the flag ``--hosts`` has it: ``INDEX/COUNT``, of four hosts "0/4" to "3/4".

        Raises:
          ValueError: it is no such place.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
        if not found or int(found[1]) >= int(found[2]):
            raise ValueError(
                f"--hosts={text} is no place among hosts; give INDEX/COUNT with an index of 0 to COUNT - 1, as "
                "--hosts=0/4 to --hosts=3/4, or auto where a launcher says it, or one"
            )
        return cls(index=int(found[1]), count=int(found[2]))

    @classmethod
    def from_flag(cls, text: str) -> Host:
        """What the flag ``--hosts`` says of hosts that trials are dealt over: "one", "auto" or a place.

        Raises:
          ValueError: as ``parse`` and ``from_environment`` do.
        """
        if text == ONE:
            return ALONE
        return cls.from_environment() if text == AUTO else cls.parse(text)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Host:
        """As the launcher says: Slurm (srun), Open MPI (mpirun), Cloud TPU and GKE; the only host where none does.

        What was found is logged, as hosts that take themselves for the only one would all do all of the work.

        Args:
          environ: instead of this process's variables.

        Raises:
          ValueError: the launcher's variables contradict each other.
        """
        host = cls._launched(os.environ if environ is None else environ)
        if host is None:
            logging.warning(
                "no launcher found (Slurm, Open MPI, Cloud TPU, GKE): this process runs alone; where there are several "
                "hosts, give each its place, --hosts=INDEX/COUNT"
            )
            return cls()
        logging.info("%s", host)
        return host

    def __str__(self) -> str:
        return f"host {self.index} of {self.count}, counted from 0"

    @classmethod
    def _launched(cls, environ: Mapping[str, str]) -> Host | None:
        """None where no launcher has left its variables."""
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
        return None


ONE, AUTO = "one", "auto"
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
            f"the other processes cannot be found out ({error}); give coordinator, count and index "
            "(--hosts=INDEX/COUNT --coordinator=HOST:PORT), or where there is one process, leave initialize() out "
            "(--hosts=one)"
        ) from error
    host = Host(index=jax.process_index(), count=jax.process_count())
    logging.info("%s", host)
    return host


def initialize_from_flags(hosts: str, coordinator: str | None) -> Host:
    """What the flags ``--hosts`` and ``--coordinator`` say of hosts that train together.

    Args:
      hosts: "one", "auto", or a place as ``Host.parse`` reads it.
      coordinator: "host:port" of the host of index 0, with a place alone.

    Raises:
      ValueError: no such place, or one without an address, or the reverse; or as ``initialize`` does.
    """
    host = None if hosts in (ONE, AUTO) else Host.parse(hosts)
    if host is None and coordinator is not None:
        raise ValueError(
            f"--coordinator={coordinator} goes with a place, --hosts=INDEX/COUNT, and not with --hosts={hosts}"
        )
    if hosts == ONE:
        return ALONE
    if host is None:
        return initialize()
    if coordinator is None:
        raise ValueError(
            f"--hosts={hosts} needs --coordinator=HOST:PORT as well: the address of the host that has --hosts=0/"
            f"{host.count}, and a port that is free there; the same on all hosts"
        )
    return initialize(coordinator=coordinator, count=host.count, index=host.index)
