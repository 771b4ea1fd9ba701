"""The engine over one, two and eight devices, and over split weights; in one process, since JAX counts devices once."""

import pytest

_SCRIPT = """
import hashlib
import json
import logging
import re

import jax
import numpy as np
from jax.sharding import Mesh

from img2img_jax import make_mesh
from img2img_jax.engine import Engine, Job, slots
from img2img_jax.partition import Partition
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
    found = {result.index: result for result in engine.run(jobs, output_type="np")}
    return [found[index] for index in range(len(jobs))]


def distance(found, wanted):
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


class Compilations(logging.Handler):
    names = []

    def emit(self, record):
        self.names += re.findall(r"^Compiling jit.(\\w+).", record.getMessage())


jax.config.update("jax_log_compiles", True)
logging.getLogger("jax").addHandler(Compilations())
def advance_compiled(*arguments):
    # Compiled once, to be both read and run; what lies elsewhere the next time is refused.
    if not compiled:
        compiled.append(advance.lower(*arguments).compile())
    return compiled[0](*arguments[3:])


def collectives(hlo):
    assert "while" in hlo
    kinds = "all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast|reduce-scatter"
    return sorted(set(re.findall(f" ({kinds})[(]", hlo)))


report = {name: {} for name in ("hashes", "compiled", "utilisation", "collectives", "held", "latents", "images")}
wanted = None
advance, slots.advance = slots.advance, advance_compiled
meshes = {count: Mesh(np.asarray(jax.devices()[:count]), ("data",)) for count in (1, 2, 8)}
meshes |= {"fsdp": make_mesh(fsdp=8), "all": make_mesh(data=2, fsdp=2, tensor=2)}
for name, mesh in meshes.items():
    compiled = []
    pipe = tiny_pipeline(mesh=mesh, partition=Partition(smallest=256), shallow=True)
    engine = Engine(pipe, slots_per_device=2)
    Compilations.names.clear()
    results = carried_out(engine, jobs if isinstance(name, int) else jobs[:20])
    report["hashes"][name] = list(map(hashed, results))
    programs = ("advance", "swap", "posterior", "decode")
    report["compiled"][name] = [Compilations.names.count(program) for program in programs]
    report["utilisation"][name] = engine.statistics.utilisation
    weights = jax.tree.leaves(pipe.split_unet[1])
    report["held"][name] = sum(leaf.addressable_shards[0].data.nbytes for leaf in weights)
    report["held"][name] /= sum(leaf.nbytes for leaf in weights)
    wanted = wanted or results
    report["latents"][name] = max(distance(a.latents, b.latents) for a, b in zip(results, wanted))
    report["images"][name] = max(float(np.abs(a.image - b.image).max()) for a, b in zip(results, wanted))
    if name == 8:
        report["some"] = list(map(hashed, carried_out(engine, jobs[::-3])))
    report["collectives"][name] = collectives(compiled[0].as_text())
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def result(on_eight_devices):
    return on_eight_devices(_SCRIPT)


def test_bits_do_not_depend_on_the_number_of_devices(result):
    hashes = result["hashes"]
    assert len(set(hashes["1"])) == 40
    assert hashes["1"] == hashes["2"] == hashes["8"]


@pytest.mark.usefixtures("alike_rows")
def test_nor_on_which_jobs_are_left_to_do(result):
    assert result["some"] == result["hashes"]["8"][::-3]


def test_one_compilation_of_each_program_serves_the_whole_sweep(result):
    """One a mesh: for all strengths, samplers, scales, prompts and seeds."""
    assert result["compiled"] == dict.fromkeys(["1", "2", "8", "fsdp", "all"], [1] * 4)


def test_slots_are_hardly_ever_idle(result):
    """On eight devices, 16 slots for 40 jobs, the tail is a good part of it."""
    assert result["utilisation"]["1"] >= 0.95 and result["utilisation"]["2"] >= 0.95
    assert result["utilisation"]["8"] >= 0.8


def test_devices_step_without_a_word_to_each_other(result):
    assert result["collectives"]["8"] == []


def test_split_weights_are_held_in_parts_and_gathered_for_the_same_bits(result):
    assert result["held"]["8"] == 1 and 1 / 8 < result["held"]["fsdp"] < 0.3
    assert result["hashes"]["fsdp"] == result["hashes"]["8"][:20]
    assert result["collectives"]["fsdp"] == ["all-gather"]


def test_tensor_parallel_slots_differ_by_rounding(result):
    """Devices along ``tensor`` share their slots."""
    assert result["held"]["all"] < 0.5
    assert 0 < result["latents"]["all"] < 1e-5 and result["images"]["all"] < 1e-4
    assert {"all-gather", "all-reduce"} <= set(result["collectives"]["all"])
