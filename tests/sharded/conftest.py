"""Programs on eight devices, in a process of their own, since JAX counts its devices once."""

import json
import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def on_eight_devices():
    """Runs a script and reads the JSON it prints last."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    environment = os.environ | flags | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def run(script: str) -> dict:
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
