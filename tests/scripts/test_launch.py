"""What would be started where, as the dry run prints it; and with a fake gcloud, what is once something fails."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "launch.py"
COMMAND = "python scripts/finetune.py --data='my pictures'"


def launch(*flags):
    """Exit code, the commands of a dry run, and what was said besides."""
    words = [sys.executable, SCRIPT, "--dry_run", "--name=sweep", f"--command={COMMAND}", *flags]
    done = subprocess.run(words, capture_output=True, text=True)
    return done.returncode, [shlex.split(line) for line in done.stdout.splitlines()], done.stderr


def test_a_slice_is_made_used_and_deleted():
    _, commands, _ = launch("--on=tpu", "--zone=europe-west4-b", "--accelerator=v5litepod-64")
    verbs = [command[4] if command[0] == "gcloud" else command[0] for command in commands]
    assert verbs == ["create", "git", "scp", "ssh", "delete"]
    assert all("--zone=europe-west4-b" in command for command in commands if command[0] == "gcloud")
    assert "--accelerator-type=v5litepod-64" in commands[0]
    assert "--worker=all" in commands[2] and "--worker=all" in commands[3]
    remote = next(word for word in commands[3] if word.startswith("--command="))
    assert remote.endswith(f"&& {COMMAND}")
    assert subprocess.run(["bash", "-n", "-c", remote.removeprefix("--command=")]).returncode == 0
    assert [command[4] for command in launch("--on=tpu", "--keep")[1] if command[0] == "gcloud"][-1] == "ssh"


@pytest.fixture
def gcloud(tmp_path):
    """Launches on a TPU with a gcloud that only writes down its verb and fails, or hangs, at one."""
    fake, verbs = tmp_path / "bin" / "gcloud", tmp_path / "verbs"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\necho $4 >> {verbs}\n[ $4 = "$HANGS" ] && exec sleep 100\n[ $4 != "$FAILS" ] || exit 3\n'
    )
    fake.chmod(0o755)
    fake.with_name("git").symlink_to(shutil.which("true"))

    def start(*flags, **environ):
        verbs.write_text("")
        return subprocess.Popen(
            [sys.executable, SCRIPT, "--on=tpu", "--name=sweep", "--command=true", *flags],
            env=os.environ | {"PATH": f"{fake.parent}:{os.environ['PATH']}"} | environ,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    return start, lambda: verbs.read_text().split()


@pytest.mark.parametrize(
    ("fails", "flags", "wanted"),
    [
        ("ssh", [], ["create", "scp", "ssh", "delete"]),
        ("scp", [], ["create", "scp", "delete"]),
        ("ssh", ["--keep"], ["create", "scp", "ssh"]),
        ("create", [], ["create"]),  # the slice there may be another's
        ("delete", [], ["create", "scp", "ssh", "delete"]),
    ],
)
def test_a_slice_is_deleted_when_something_fails_and_the_failure_is_told(gcloud, fails, flags, wanted):
    start, verbs = gcloud
    started = start(*flags, FAILS=fails)
    _, said = started.communicate()
    assert verbs() == wanted
    assert started.returncode == 1 and fails in said and "status 3" in said


def test_a_slice_is_deleted_when_the_script_is_ended(gcloud):
    start, verbs = gcloud
    started = start(HANGS="ssh")
    while "ssh" not in verbs():
        assert started.poll() is None
        time.sleep(0.01)
    started.send_signal(signal.SIGTERM)
    assert started.wait() == 128 + signal.SIGTERM
    assert verbs()[-1] == "delete"


def test_a_workload_of_several_slices():
    (command,) = launch("--on=gke", "--cluster=mine", "--slices=2")[1]
    assert command[:3] == ["xpk", "workload", "create"]
    assert {"--cluster=mine", "--workload=sweep", "--num-slices=2"} <= set(command)
    assert command[-1].endswith(COMMAND)
    code, commands, said = launch("--on=gke")
    assert code != 0 and commands == [] and "--cluster is missing" in said


@pytest.mark.parametrize(("flags", "tasks", "kill"), [([], 1, 0), (["--together"], 4, 1)])
def test_a_process_a_node_to_deal_and_a_process_a_gpu_to_train(flags, tasks, kill):
    (command,) = launch("--on=slurm", "--nodes=2", "--gpus=4", *flags)[1]
    assert command[0] == "sbatch"
    assert {"--nodes=2", f"--ntasks-per-node={tasks}", "--gpus-per-node=4"} <= set(command)
    wrapped = shlex.split(command[-1].removeprefix("--wrap="))
    assert wrapped == ["srun", f"--kill-on-bad-exit={kill}", "bash", "-c", COMMAND]


def test_a_command_that_is_not_quoted_is_refused():
    code, _, said = launch("--on=slurm", "--", "python", "x.py")
    assert code != 0 and "quote what is to run" in said
