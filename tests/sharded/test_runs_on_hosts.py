"""A run of a network, dealt over two and four real processes of one JAX job: the files of a run on one, bit for bit."""

import numpy as np
import pytest
from PIL import Image

_SCRIPT = """
import sys

index, count, address, folder, workdir, cache = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]

import jax
import numpy as np
from jax.experimental import multihost_utils

jax.config.update("jax_compilation_cache_dir", cache)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)

from img2img_jax import make_mesh
from img2img_jax.hosts import ALONE, initialize
from img2img_jax.inputs import find_inputs
from img2img_jax.runs import make_plan, run
from img2img_jax.sweep import Settings
from img2img_jax.testing.tiny import tiny_pipeline

host = initialize(coordinator=address, count=count, index=index) if count > 1 else ALONE
if count > 1:
    assert list(multihost_utils.process_allgather(np.int32(index))) == list(range(count))
    try:
        tiny_pipeline(mesh=make_mesh())
    except ValueError as error:
        assert "devices=jax.local_devices()" in str(error)
    else:
        raise AssertionError("a pipeline took a mesh of several processes")
plan = make_plan(
    find_inputs(folder, "a"),
    strengths=[0.5, 1],
    seeds=[0, 1],
    settings=[Settings(num_inference_steps=2, scheduler="euler_a")],
    batch_size=1,
)
about = dict.fromkeys(("model", "revision", "variant")) | {"resize": "crop", "background": "white", "dtype": "float32"}
run(
    tiny_pipeline(mesh=make_mesh(devices=jax.local_devices())),
    plan,
    workdir,
    provenance=about | {"weights_sha256": "", "versions": {}},
    manifest={"devices": jax.local_device_count()},
    host=host,
)
"""


@pytest.fixture(scope="module")
def files(on_hosts, tmp_path_factory):
    """What a run on so many hosts leaves, by name."""
    root = tmp_path_factory.mktemp("runs")
    (root / "in").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(root / "in" / "a.png")

    def run(count):
        workdir = root / str(count)
        for code, said in on_hosts(_SCRIPT, count, root / "in", workdir, root / "cache"):
            assert code == 0, said
        found = {str(path.relative_to(workdir)): path for path in workdir.rglob("*") if path.is_file()}
        return {name: path.read_bytes() for name, path in found.items() if "seconds" not in name and "beat" not in name}

    return run


def test_several_hosts_make_the_bits_of_one(files):
    one = files(1)
    assert {"rows.jsonl", *(f"rows/{batch:06}.jsonl" for batch in range(4))} <= one.keys()
    assert len([name for name in one if name.startswith("images/")]) == 4
    for count in (2, 4):
        assert files(count) == one
