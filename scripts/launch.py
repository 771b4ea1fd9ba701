"""Starts one command on every host of a Cloud TPU slice, of a GKE cluster (through xpk), or of a Slurm cluster.

  python scripts/launch.py --on=tpu --name=sweep --zone=us-west4-a --accelerator=v5litepod-16 --command="..."
  python scripts/launch.py --on=gke --name=sweep --cluster=mine --accelerator=v5litepod-16 --slices=2 --command="..."
  python scripts/launch.py --on=slurm --name=sweep --nodes=4 --gpus=8 --command="..."

With --dry_run it prints what it would run, and runs nothing. The commands are plain on purpose: copy them, change them.
"""

from __future__ import annotations

import dataclasses
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence

from absl import app, flags

Command = list[str]

_ON = flags.DEFINE_enum("on", None, ["tpu", "gke", "slurm"], "Where.", required=True)
_NAME = flags.DEFINE_string("name", None, "Of the TPU VM, the workload or the job.", required=True)
_COMMAND = flags.DEFINE_string("command", None, "What every host runs, in the root of this repository.", required=True)
_DRY = flags.DEFINE_boolean("dry_run", False, "Print the commands instead of running them.")
_ACCELERATOR = flags.DEFINE_string("accelerator", "v5litepod-16", "tpu, gke: type and size of a slice.")
_ZONE = flags.DEFINE_string("zone", "us-west4-a", "tpu: where such slices are.")
_RUNTIME = flags.DEFINE_string("runtime", "v2-alpha-tpuv5-lite", "tpu: image of the VMs.")
_KEEP = flags.DEFINE_boolean("keep", False, "tpu: keep the slice afterwards; it costs money until it is deleted.")
_CLUSTER = flags.DEFINE_string("cluster", None, "gke: made with `xpk cluster create`.")
_SLICES = flags.DEFINE_integer("slices", 1, "gke: how many.", lower_bound=1)
_NODES = flags.DEFINE_integer("nodes", 1, "slurm: how many.", lower_bound=1)
_GPUS = flags.DEFINE_integer("gpus", 8, "slurm: GPUs of a node.", lower_bound=1)
_TOGETHER = flags.DEFINE_boolean(
    "together",
    False,
    "slurm: the hosts train together (--hosts=auto), for which JAX wants a process a GPU. Without, trials are dealt, "
    "and a process takes all GPUs of its node.",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launch:
    """Commands in their order.

    Attributes:
      make: if one of these fails, nothing else is run.
      use: these follow until one fails.
      end: run in any case once all of ``make`` have ended well, as what they made costs money.
    """

    make: Sequence[Command] = ()
    use: Sequence[Command]
    end: Sequence[Command] = ()


def tpu() -> Launch:
    """Makes a slice, copies the repository's last commit to its hosts, runs, and deletes the slice, come what may."""
    place = [_NAME.value, f"--zone={_ZONE.value}"]
    vm = ["gcloud", "compute", "tpus", "tpu-vm"]
    archive = f"{_NAME.value}.tar.gz"
    # Every host starts the same command; the first of them is as good as the others until rows are put together.
    remote = (
        f"mkdir -p {_NAME.value} && tar xzf {archive} -C {_NAME.value} && cd {_NAME.value} && "
        f"pip install -q -e . 'jax[tpu]' && {_COMMAND.value}"
    )
    return Launch(
        # A slice of this name that is there already fails here, and is not deleted.
        make=[[*vm, "create", *place, f"--accelerator-type={_ACCELERATOR.value}", f"--version={_RUNTIME.value}"]],
        use=[
            ["git", "archive", "--format=tar.gz", f"--output={archive}", "HEAD"],
            [*vm, "scp", archive, f"{_NAME.value}:", f"--zone={_ZONE.value}", "--worker=all"],
            [*vm, "ssh", *place, "--worker=all", f"--command={remote}"],
        ],
        end=[] if _KEEP.value else [[*vm, "delete", *place, "--quiet"]],
    )


def gke() -> Launch:
    """One workload; xpk builds its image from this folder."""
    if not _CLUSTER.value:
        raise app.UsageError("--cluster is missing: name one made with `xpk cluster create`")
    workload = [
        *("xpk", "workload", "create", f"--cluster={_CLUSTER.value}", f"--workload={_NAME.value}"),
        *(f"--tpu-type={_ACCELERATOR.value}", f"--num-slices={_SLICES.value}"),
        *("--base-docker-image=python:3.11", "--script-dir=."),
        f"--command=pip install -q -e . 'jax[tpu]' && {_COMMAND.value}",
    ]
    return Launch(use=[workload])


def slurm() -> Launch:
    """One job on a file system that all nodes share, in an environment where the package is installed."""
    tasks = _GPUS.value if _TOGETHER.value else 1
    # Hosts that train together wait for one that died for ever; dealt trials go on without it.
    srun = ["srun", f"--kill-on-bad-exit={int(_TOGETHER.value)}", "bash", "-c", _COMMAND.value]
    job = [
        *("sbatch", f"--job-name={_NAME.value}", f"--nodes={_NODES.value}", f"--ntasks-per-node={tasks}"),
        *(f"--gpus-per-node={_GPUS.value}", "--requeue", f"--wrap={shlex.join(srun)}"),
    ]
    return Launch(use=[job])


def run(launch: Launch) -> None:
    """Runs the commands, or prints them in a dry run.

    Raises:
      CalledProcessError: one has failed; those of ``launch.end`` were run all the same.
    """
    _run(launch.make)
    try:
        _run(launch.use)
    finally:
        _run(launch.end)


def _run(commands: Sequence[Command]) -> None:
    for command in commands:
        print(shlex.join(command), flush=True)
        if not _DRY.value:
            subprocess.run(command, check=True)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; quote what is to run: --command='...'")
    for ends in (signal.SIGTERM, signal.SIGHUP):  # would otherwise leave without the last commands
        signal.signal(ends, lambda number, _: sys.exit(128 + number))
    try:
        run({"tpu": tpu, "gke": gke, "slurm": slurm}[_ON.value]())
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        sys.exit(f"launch: {error}")


if __name__ == "__main__":
    app.run(main)
