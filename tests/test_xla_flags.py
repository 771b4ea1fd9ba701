"""A process that imports the package leaves nothing but sums to YNNPACK on a CPU, unless it was told otherwise."""

import os
import subprocess
import sys

import pytest

from img2img_jax import xla_flags

PRODUCT = """
import jax, jax.numpy as jnp
{then}
x = jnp.ones((64, 64))
print(jax.jit(lambda x: x @ x).lower(x).compile().as_text())
"""


def program(then: str, flags: str = "") -> str:
    """What a fresh process compiles a product to, after ``then``."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-c", PRODUCT.format(then=then)]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def test_products_are_left_to_xla_even_where_jax_was_imported_before():
    assert "ynn" in program("")
    assert "ynn" not in program("import img2img_jax")


@pytest.mark.parametrize(
    ("version", "before", "after"),
    [
        ("0.10.2", "", f"{xla_flags.FLAG}={xla_flags.SUMS}"),
        ("0.10.9", "--xla_dump_to=a", f"--xla_dump_to=a {xla_flags.FLAG}={xla_flags.SUMS}"),
        ("0.10.2", f"{xla_flags.FLAG}=-reduce", f"{xla_flags.FLAG}=-reduce"),
        ("0.12.0", "--xla_dump_to=a", "--xla_dump_to=a"),
    ],
    ids=["first", "added", "the caller's", "unknown version"],
)
def test_flags(monkeypatch, version, before, after):
    monkeypatch.setattr(xla_flags.metadata, "version", lambda name: version)
    monkeypatch.setenv("XLA_FLAGS", before)
    xla_flags.leave_sums_to_ynnpack()
    assert os.environ["XLA_FLAGS"] == after
