"""Programs on eight devices, or in several processes, since JAX counts its devices once in the life of a process."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest


def environment(devices: int) -> dict[str, str]:
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_PLATFORMS": "cpu"}
    return os.environ | flags | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.fixture(scope="session")
def on_hosts():
    """Runs a script in several processes at once, and ends all when one has failed, as launchers do.

    The script's arguments are its place, their number, an address for the first to listen on, and what is given.
    Returns each one's exit code (minus the signal that ended it) and what it wrote to standard error.
    """

    def run(script: str, count: int, *given: str, devices: int = 1) -> list[tuple[int, str]]:
        with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
            free.bind(("127.0.0.1", 0))
            common = [str(count), f"127.0.0.1:{free.getsockname()[1]}", *map(str, given)]
            free.close()
            said = [Path(folder, str(index)) for index in range(count)]
            started = [
                subprocess.Popen(
                    [sys.executable, "-c", script, str(index), *common],
                    env=environment(devices),
                    stderr=said[index].open("w"),
                )
                for index in range(count)
            ]
            until = time.monotonic() + 600
            while any(process.poll() is None for process in started):
                if any(process.poll() for process in started) or time.monotonic() > until:
                    for process in started:
                        process.kill()
                time.sleep(0.05)
            return [(process.returncode, file.read_text()) for process, file in zip(started, said, strict=True)]

    return run


@pytest.fixture(scope="session")
def on_eight_devices():
    """Runs a script and reads the JSON it prints last."""

    def run(script: str) -> dict:
        done = subprocess.run([sys.executable, "-c", script], env=environment(8), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
