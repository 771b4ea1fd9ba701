"""The pipeline over eight devices; in a process of its own, since JAX counts its devices once."""

import re

import pytest

_SCRIPT = """
import json
import tempfile

import jax
import numpy as np
from flax import nnx

from img2img_jax import Img2ImgPipeline, make_mesh, programs
from img2img_jax.testing.tiny import random_images, tiny_pipeline

seen, denoise = [], programs.denoise


def spy(*args):
    seen.append(args)
    return denoise(*args)


programs.denoise = spy
images = np.asarray(random_images(5))
latents = (5, 8, 8, 4)
options = dict(
    prompt=list("abcde"),
    negative_prompt=list("vwxyz"),
    image=images,
    strength=[0, 0.3, 0.5, 0.8, 1],
    seed=[1, 2, 3, 4, 5],
    guidance_scale=[1, 2, 3, 4, 5],
    num_inference_steps=6,
    scheduler="euler_a",
    step_noise=np.random.default_rng(0).standard_normal((6, *latents), np.float32),
    output_type="np",
)
source, mesh = tiny_pipeline(), make_mesh()
one = source(**options)
with tempfile.TemporaryDirectory() as folder:
    source.save(folder)
    pipe = Img2ImgPipeline.restore(folder, mesh=mesh)
many = pipe(**options)
print(json.dumps({
    "devices": mesh.size,
    "shards": [shard.data.shape[0] for shard in seen[1][4].addressable_shards],
    "held": sorted({len(leaf.sharding.device_set) for leaf in jax.tree.leaves(nnx.state(pipe.unet))}),
    "shape": list(many.latents.shape),
    "latents": float(np.linalg.norm(many.latents - one.latents) / np.linalg.norm(one.latents)),
    "images": float(np.abs(many.images - one.images).max()),
    "untouched": bool((many.images[0] == images[0]).all()),
    "starts": many.strength == one.strength,
    "hlo": denoise.lower(*seen[1]).compile().as_text(),
}))
"""


@pytest.fixture(scope="module")
def result(on_eight_devices):
    return on_eight_devices(_SCRIPT)


def test_an_uneven_batch_is_spread_over_all_devices(result):
    assert result["devices"] == 8
    assert result["shards"] == [1] * 8
    assert result["shape"] == [5, 8, 8, 4]


def test_weights_saved_on_one_device_are_restored_to_all(result):
    assert result["held"] == [8]


def test_result_is_that_of_one_device(result):
    assert result["latents"] < 1e-5
    assert result["images"] < 1e-4
    assert result["untouched"] and result["starts"]


def test_devices_denoise_without_a_word_to_each_other(result):
    assert "while" in result["hlo"]
    collectives = "all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast|reduce-scatter"
    assert set(re.findall(collectives, result["hlo"])) == set()
