"""Starts one command on every host of a Cloud TPU slice, of a GKE cluster (through xpk), or of a Slurm cluster.

  python scripts/launch.py --on=tpu --name=sweep --zone=us-west4-a --accelerator=v5litepod-16 --command="..."
  python scripts/launch.py --on=gke --name=sweep --cluster=mine --accelerator=v5litepod-16 --slices=2 --command="..."
  python scripts/launch.py --on=slurm --name=sweep --nodes=4 --gpus=8 --command="..."

With --dry_run it prints what it would run, and runs nothing. The commands are plain on purpose: copy them, change them.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator

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


def tpu() -> Iterator[Command]:
    """Makes a slice, copies the repository's last commit to its hosts, runs, and deletes the slice."""
    place = [_NAME.value, f"--zone={_ZONE.value}"]
    vm = ["gcloud", "compute", "tpus", "tpu-vm"]
    archive = f"{_NAME.value}.tar.gz"
    # Every host starts the same command; the first of them is as good as the others until rows are put together.
    remote = (
        f"mkdir -p {_NAME.value} && tar xzf {archive} -C {_NAME.value} && cd {_NAME.value} && "
        f"pip install -q -e . 'jax[tpu]' && {_COMMAND.value}"
    )
    yield [*vm, "create", *place, f"--accelerator-type={_ACCELERATOR.value}", f"--version={_RUNTIME.value}"]
    yield ["git", "archive", "--format=tar.gz", f"--output={archive}", "HEAD"]
    yield [*vm, "scp", archive, f"{_NAME.value}:", f"--zone={_ZONE.value}", "--worker=all"]
    yield [*vm, "ssh", *place, "--worker=all", f"--command={remote}"]
    if not _KEEP.value:
        yield [*vm, "delete", *place, "--quiet"]


def gke() -> Iterator[Command]:
    """One workload; xpk builds its image from this folder."""
    if not _CLUSTER.value:
        raise app.UsageError("--cluster is missing: name one made with `xpk cluster create`")
    yield [
        *("xpk", "workload", "create", f"--cluster={_CLUSTER.value}", f"--workload={_NAME.value}"),
        *(f"--tpu-type={_ACCELERATOR.value}", f"--num-slices={_SLICES.value}"),
        *("--base-docker-image=python:3.11", "--script-dir=."),
        f"--command=pip install -q -e . 'jax[tpu]' && {_COMMAND.value}",
    ]


def slurm() -> Iterator[Command]:
    """One job on a file system that all nodes share, in an environment where the package is installed."""
    tasks = _GPUS.value if _TOGETHER.value else 1
    # Hosts that train together wait for one that died for ever; dealt trials go on without it.
    srun = ["srun", f"--kill-on-bad-exit={int(_TOGETHER.value)}", "bash", "-c", _COMMAND.value]
    yield [
        *("sbatch", f"--job-name={_NAME.value}", f"--nodes={_NODES.value}", f"--ntasks-per-node={tasks}"),
        *(f"--gpus-per-node={_GPUS.value}", "--requeue", f"--wrap={shlex.join(srun)}"),
    ]


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; quote what is to run: --command='...'")
    for command in {"tpu": tpu, "gke": gke, "slurm": slurm}[_ON.value]():
        print(shlex.join(command), flush=True)
        if not _DRY.value:
            subprocess.run(command, check=True)


if __name__ == "__main__":
    app.run(main)
