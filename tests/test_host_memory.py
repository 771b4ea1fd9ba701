"""A process that imports the package keeps, on a CPU, the memory that its programs gave back."""

import os
import subprocess
import sys

import pytest

from img2img_jax import host_memory

SCRIPT = """
import resource
import contextlib
import img2img_jax
from img2img_jax.host_memory import default_malloc
import jax, jax.numpy as jnp

@jax.jit
def program(x, kernel):  # temporaries of 64 MiB
    for _ in range(3):
        x = jnp.sin(x @ kernel)
    return x.sum()

x, kernel = jnp.ones((2**18, 64)), jnp.ones((64, 64))
faults = []
with {context}:
    for _ in range(11):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        program(x, kernel).block_until_ready()
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))
"""


def page_faults(context: str = "contextlib.nullcontext()", **variables: str) -> int:
    """The least that one of eleven calls takes of a program with large temporaries, in a fresh process.

    What a call frees may still be in use when the next begins, which then gets new pages: the heap grows a few times.
    """
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **variables}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(context=context)],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return int(run.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_programs_get_the_same_pages_again():
    default = page_faults(**{host_memory.VARIABLE: "default"})
    assert page_faults() < 0.1 * default
    assert page_faults("default_malloc()") > 0.5 * default


@pytest.mark.parametrize(
    ("variables", "installed", "told"),
    [
        ({}, (), True),
        ({}, ("libtpu",), False),
        ({"JAX_PLATFORMS": "cpu"}, ("libtpu",), True),
        ({"JAX_PLATFORMS": "tpu,cpu"}, (), False),
        ({host_memory.VARIABLE: "default"}, (), False),
    ],
    ids=["cpu", "accelerator", "told to use the CPU", "told not to", "switched off"],
)
def test_malloc_is_told_where_programs_run_on_a_cpu_alone(monkeypatch, variables, installed, told):
    calls = []
    library = type("Library", (), {"mallopt": staticmethod(lambda *args: calls.append(args))})
    monkeypatch.setattr(host_memory.ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(host_memory.importlib.util, "find_spec", lambda name: name in installed or None)
    monkeypatch.setattr(host_memory.sys, "platform", "linux")
    for name in ("JAX_PLATFORMS", host_memory.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    host_memory.keep_freed_memory()
    assert bool(calls) is told


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(host_memory.ctypes, "CDLL", lambda name: object())
    host_memory.keep_freed_memory()
