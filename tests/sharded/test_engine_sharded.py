"""The engine over one, two and eight devices; in a process of its own, since JAX counts its devices once."""

import pytest

_SCRIPT = """
import hashlib
import json
import logging
import re

import jax
import numpy as np
from jax.sharding import Mesh

from img2img_jax.engine import Engine, Job, slots
from img2img_jax.testing.tiny import random_images, tiny_pipeline

images = np.asarray(np.rint(255 * random_images(4)), np.uint8)
samplers = ["ddim", "euler_a", "unipc", "heun", "dpmpp_2m_sde"]
jobs = [
    Job(
        prompt=f"a {n % 3}",
        image=images[n % 4],
        strength=(n % 10 + 1) / 10,
        seed=n,
        num_inference_steps=10,
        guidance_scale=2 + n / 10,
        scheduler=samplers[n % 5],
    )
    for n in range(40)
]


def hashed(result):
    return hashlib.sha256(result.latents.tobytes() + result.image.tobytes()).hexdigest()


def carried_out(engine, jobs):
    found = {result.index: hashed(result) for result in engine.run(jobs, output_type="np")}
    return [found[index] for index in range(len(jobs))]


class Compilations(logging.Handler):
    names = []

    def emit(self, record):
        self.names += re.findall(r"^Compiling jit.(\\w+).", record.getMessage())


jax.config.update("jax_log_compiles", True)
logging.getLogger("jax").addHandler(Compilations())
report = {"hashes": {}, "compiled": {}, "utilisation": {}}
advance = slots.advance
for count in (1, 2, 8):
    seen = []
    slots.advance = lambda *args: seen.append(args) or advance(*args)
    mesh = Mesh(np.asarray(jax.devices()[:count]), ("data",))
    engine = Engine(tiny_pipeline(mesh=mesh, shallow=True), slots_per_device=2)
    Compilations.names.clear()
    report["hashes"][count] = carried_out(engine, jobs)
    report["compiled"][count] = [Compilations.names.count(name) for name in ("advance", "swap", "posterior", "decode")]
    report["utilisation"][count] = engine.statistics.utilisation
report["some"] = carried_out(engine, jobs[::-3])
shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), seen[0][2:-1])
report["hlo"] = advance.lower(*seen[0][:2], *shapes, seen[0][-1]).compile().as_text()
report["collectives"] = "all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast|reduce-scatter"
report["collectives"] = sorted(set(re.findall(report["collectives"], report["hlo"])))
report["hlo"] = "while" in report["hlo"]
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def result(on_eight_devices):
    return on_eight_devices(_SCRIPT)


def test_bits_do_not_depend_on_the_number_of_devices(result):
    hashes = result["hashes"]
    assert len(set(hashes["1"])) == 40
    assert hashes["1"] == hashes["2"] == hashes["8"]


def test_nor_on_which_jobs_are_left_to_do(result):
    assert result["some"] == result["hashes"]["8"][::-3]


def test_one_compilation_of_each_program_serves_the_whole_sweep(result):
    """One a mesh: for all strengths, samplers, scales, prompts and seeds."""
    assert result["compiled"] == {"1": [1] * 4, "2": [1] * 4, "8": [1] * 4}


def test_slots_are_hardly_ever_idle(result):
    """On eight devices, 16 slots for 40 jobs, the tail is a good part of it."""
    assert result["utilisation"]["1"] >= 0.95 and result["utilisation"]["2"] >= 0.95
    assert result["utilisation"]["8"] >= 0.8


def test_devices_step_without_a_word_to_each_other(result):
    assert result["hlo"] and result["collectives"] == []
