"""An experiment on eight devices lies on the mesh that its configuration asks for."""

import pytest

_SCRIPT = """
import json
import pathlib
import tempfile

import jax
import numpy as np
from PIL import Image

from img2img_jax.lab import experiment_config
from img2img_jax.lab.experiment import Experiment
from img2img_jax.metrics import Evaluator
from img2img_jax.partition import PARTITION
from img2img_jax.testing.tiny import tiny_pipeline

object.__setattr__(PARTITION, "smallest", 64)  # or nothing of so small a network would be split


def experiment(changes):
    about = {"inputs": {"a": str(root)}, "model": {"path": str(root / "model")}}
    return Experiment(experiment_config("x", "tiny", about, changes), root / "run")


def place(changes):
    made, given = experiment(changes), []
    kernel = made._pipe.split_unet[1]["conv_in"]["kernel"]
    Evaluator.load = lambda *names, mesh, **networks: given.append(mesh)
    made._evaluator()
    share = kernel.size / max(shard.data.size for shard in kernel.addressable_shards)
    return dict(given[0].shape), given[0] == made._pipe.mesh, share


with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(root / "a.png")
    (root / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "text": "a"}))
    tiny_pipeline(shallow=True).save_pretrained(root / "model")
    places = [place({}), place({"mesh": {"fsdp": 4, "tensor": 2}}), place({"mesh": {"fsdp": 2}, "slots_per_device": 1})]
    try:
        experiment({"mesh": {"tensor": 3}})
    except ValueError as error:
        print(json.dumps([places, str(error)]))
"""


@pytest.fixture(scope="module")
def result(on_eight_devices):
    return on_eight_devices(_SCRIPT)


def test_networks_and_metrics_are_on_the_mesh_of_the_configuration(result):
    (plain, both, slots), _ = result
    assert plain == [{"data": 8, "fsdp": 1, "tensor": 1}, True, 1]
    assert both[:2] == [{"data": 1, "fsdp": 4, "tensor": 2}, True] and both[2] >= 4
    assert slots == [{"data": 4, "fsdp": 2, "tensor": 1}, True, 2]


def test_a_mesh_that_does_not_fit_is_refused(result):
    assert "8 devices do not split into fsdp=1 x tensor=3" in result[1]
