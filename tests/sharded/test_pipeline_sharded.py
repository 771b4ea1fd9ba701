"""The pipeline over eight devices; in a process of its own, since JAX counts its devices once."""

import pytest

_SCRIPT = """
import json
import re
import tempfile

import jax
import numpy as np

from img2img_jax import Img2ImgPipeline, make_mesh, programs
from img2img_jax.partition import Partition
from img2img_jax.testing.tiny import random_images, tiny_pipeline

seen, denoise = [], programs.denoise


def spy(*args):
    # Compiled once, to be both read and run; the first two arguments and the last are static.
    compiled = denoise.lower(*args).compile()
    seen.append((args[4], compiled.as_text()))
    return compiled(*args[2:-1])


def one_by_one(pipe, options):
    # A device has one slot below, as here: bits depend on how many samples a program works on. No network runs for
    # the first sample, whose strength is 0.
    per_sample = {k for k, v in options.items() if np.size(v) > 1}
    calls = [pipe(**{k: v[i : i + 1] if k in per_sample else v for k, v in options.items()}) for i in range(1, 5)]
    return [np.concatenate([getattr(call, name) for call in calls]) for name in ("images", "latents")]


def compared(mesh):
    with tempfile.TemporaryDirectory() as folder:
        source.save(folder)
        pipe = Img2ImgPipeline.restore(folder, mesh=mesh, partition=Partition(smallest=256))
    out = pipe(**options)
    weights = jax.tree.leaves((pipe._unet[1], pipe._vae[1]))
    held = [sum(leaf.addressable_shards[n].data.nbytes for leaf in weights) for n in range(8)]
    return {
        "devices": mesh.size,
        "shards": [shard.data.shape[0] for shard in seen[-1][0].addressable_shards],
        "held": [bytes / sum(leaf.nbytes for leaf in weights) for bytes in held],
        "shape": list(out.latents.shape),
        "latents": float(np.linalg.norm(out.latents[1:] - latents) / np.linalg.norm(latents)),
        "images": float(np.abs(out.images[1:] - images).max()),
        "untouched": bool((out.images[0] == pictures[0]).all()),
        "collectives": collectives(seen[-1][1]),
    }


def collectives(hlo):
    # Their kinds, by where they stand: in the loop or outside.
    kinds, found, inside = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter", set(), False
    assert "while" in hlo
    for line in hlo.splitlines():
        if line.endswith("{"):
            inside = not line.startswith("ENTRY")
        found |= {("loop " if inside else "outside ") + kind for kind in re.findall(f" ({kinds})[(]", line)}
    return sorted(found)


pictures = np.asarray(random_images(5))
options = dict(
    prompt=None,
    image=pictures,
    strength=[0, 0.3, 0.5, 0.8, 1],
    seed=[1, 2, 3, 4, 5],
    guidance_scale=[1.5, 2, 3, 4, 5],
    num_inference_steps=6,
    scheduler="euler_a",
    output_type="np",
)
source = tiny_pipeline()
options |= source.encode_prompt(list("abcde"), list("vwxyz"))  # its bits depend on the number of prompts
images, latents = one_by_one(source, options)
programs.denoise = spy
meshes = dict(data={}, fsdp=dict(fsdp=8), all=dict(data=2, fsdp=2, tensor=2))
print(json.dumps({name: compared(make_mesh(**axes)) for name, axes in meshes.items()}))
"""


@pytest.fixture(scope="module")
def result(on_eight_devices):
    return on_eight_devices(_SCRIPT)


@pytest.mark.parametrize(("mesh", "slots"), [("data", 1), ("fsdp", 1), ("all", 2)])
def test_an_uneven_batch_is_spread_over_all_devices(result, mesh, slots):
    assert result[mesh]["devices"] == 8
    assert result[mesh]["shards"] == [slots] * 8
    assert result[mesh]["shape"] == [5, 8, 8, 4]


def test_weights_saved_on_one_device_are_restored_to_their_places(result):
    assert result["data"]["held"] == [1] * 8
    assert all(1 / 8 < held < 0.2 for held in result["fsdp"]["held"]), result["fsdp"]["held"]
    assert all(1 / 4 < held < 0.4 for held in result["all"]["held"]), result["all"]["held"]


@pytest.mark.parametrize("mesh", ["data", "fsdp"])
def test_bits_are_those_of_one_device_with_as_many_slots(result, mesh):
    assert result[mesh]["latents"] == result[mesh]["images"] == 0
    assert result[mesh]["untouched"]


def test_tensor_parallel_results_differ_by_rounding(result):
    assert 0 < result["all"]["latents"] < 1e-5
    assert result["all"]["images"] < 1e-4
    assert result["all"]["untouched"]


def test_devices_denoise_without_a_word_to_each_other(result):
    assert result["data"]["collectives"] == []


def test_split_weights_are_gathered_in_the_loop_alone(result):
    assert result["fsdp"]["collectives"] == ["loop all-gather"]
    assert {"loop all-gather", "loop all-reduce"} <= set(result["all"]["collectives"])
