"""Metrics over eight devices; in a process of its own, since JAX counts its devices once."""

import pytest

_SCRIPT = """
import json

import numpy as np

from img2img_jax import make_mesh
from img2img_jax.metrics import Evaluator
from img2img_jax.parallel import shard_batch
from img2img_jax.testing.tiny import random_images

names = ["ssim", "edge_f1", "clip_image", "clip_text"]
evaluator, mesh = Evaluator.load(names), make_mesh()
images = np.asarray(random_images(8, 24))
pair, prompt = (images, images[::-1].copy()), [*"abcdefgh"]
one = evaluator(*pair, prompt=prompt)
many = evaluator(*shard_batch(pair, mesh), prompt=prompt)
spreading = Evaluator.load(names, mesh=mesh)
uneven = spreading(pair[0][:5], pair[1][:5], prompt=prompt[:5])
features = [np.asarray(each) for each in (evaluator.features(images), spreading.features(images[:5]))]
print(json.dumps({
    "uneven": {name: float(abs(np.asarray(one[name])[:5] - np.asarray(uneven[name])).max()) for name in names},
    "features": float(abs(features[0][:5] - features[1]).max()),
    "devices": mesh.size,
    "error": {name: float(abs(np.asarray(one[name]) - np.asarray(many[name])).max()) for name in names},
    "shards": {name: [shard.data.shape[0] for shard in many[name].addressable_shards] for name in names},
}))
"""


@pytest.fixture(scope="module")
def result(on_eight_devices):
    return on_eight_devices(_SCRIPT)


def test_values_are_those_of_one_device(result):
    assert result["devices"] == 8
    assert all(error < 1e-4 for error in result["error"].values()), result["error"]


def test_every_device_computes_its_own_sample(result):
    assert all(shards == [1] * 8 for shards in result["shards"].values()), result["shards"]


def test_an_uneven_batch_is_spread_and_its_padding_dropped(result):
    assert all(error < 1e-4 for error in result["uneven"].values()), result["uneven"]
    assert result["features"] < 1e-4
