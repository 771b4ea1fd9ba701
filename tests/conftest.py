"""What the tests of every room share."""

import os

import pytest

# Nothing of a test is kept for the next, nor in the user's home; compilations are counted.
os.environ["IMG2IMG_JAX_CACHE"] = "off"
# Most programs of the tests run once or twice: compiling them well takes longer than running them as they come.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()


@pytest.fixture(scope="session")
def every_compilation():
    """Durations of all compilations since the first test that asked for them."""
    import jax

    durations = []

    def count(event, duration, **kwargs):
        if event == "/jax/core/compile/backend_compile_duration":
            durations.append(duration)

    jax.monitoring.register_event_duration_secs_listener(count)
    return durations


@pytest.fixture
def compilations(every_compilation):
    """A list that grows by every compilation; clear it with ``del compilations[:]``."""
    import jax

    del every_compilation[:]
    jax.jit(lambda x: x + 1)(1.0)
    assert every_compilation  # or a test that none was needed could not fail
    return every_compilation


@pytest.fixture
def alike_rows():
    """Skips what compares bits of samples that stood at different places of a batch, where these differ."""
    from img2img_jax.testing.rows import rows_alike

    if not rows_alike():
        pytest.skip("this processor computes the rows of a batch differently by their place (docs/reproducibility.md)")


@pytest.fixture(scope="session")
def tpu_slice():
    """The devices of a slice of TPUs by its name, to compile for, where the compiler is: on Linux."""
    pytest.importorskip("libtpu")
    from img2img_jax.aot import slice_devices

    return slice_devices


@pytest.fixture(scope="session")
def tpu_place(tpu_slice):
    """One chip of a TPU, to compile for."""
    import jax

    return jax.sharding.SingleDeviceSharding(tpu_slice("v5e:1x1")[0])
