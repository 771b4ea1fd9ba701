"""The CLIP that ships with the package is the default, and it can see."""

import json

import numpy as np
import pytest
from PIL import Image

from img2img_jax.checkpoints import CheckpointError
from img2img_jax.metrics import Evaluator
from img2img_jax.metrics.clip_features import EMBEDDED_CLIP, CLIPFeatures

DEMO = EMBEDDED_CLIP.parents[1] / "demo"


@pytest.fixture(scope="module")
def evaluator():
    return Evaluator.load(["clip_text", "clip_image"])


def test_the_embedded_clip_tells_its_demo_pictures_apart(evaluator):
    lines = [json.loads(line) for line in (DEMO / "metadata.jsonl").read_text().splitlines()]
    rows = [row for row in lines if row["file_name"] == "picture.png"]
    images = np.stack([np.asarray(Image.open(DEMO / row["file_name"]).convert("RGB").resize((64, 64))) for row in rows])
    images = np.repeat(np.float32(images) / 255, 3, axis=0)
    prompts = ["a red heart", "a clock face", "a green tree"]
    shown = evaluator(images, 1 - images, prompt=prompts)
    assert (np.asarray(shown["clip_image"]) < 0.9).all()
    assert len(set(np.asarray(shown["clip_text"]).tolist())) == 3


def test_normalisation_is_that_of_the_folder():
    assert CLIPFeatures.load()._normalisation == ((0.5,) * 3, (0.5,) * 3)


def test_a_missing_clip_is_said():
    with pytest.raises(CheckpointError, match="neither an existing folder nor"):
        Evaluator.load(clip="no/such/folder/here")
