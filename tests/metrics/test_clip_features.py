"""The CLIP that ships with the package is the default, and it can see."""

import json

import numpy as np
import pytest
from flax import nnx
from PIL import Image

from img2img_jax.checkpoints import CheckpointError, save_component
from img2img_jax.metrics import Evaluator
from img2img_jax.metrics.clip_features import EMBEDDED_CLIP, CLIPFeatures
from img2img_jax.testing.tiny import letter_tokenizer

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


def test_any_other_clip_is_loaded_with_its_own_tokenizer(networks, tmp_path):
    """A folder as transformers saves it; without a preprocessor's file, pictures are normalised as OpenAI does."""
    known = networks["clip"]
    save_component(nnx.merge(known._graphdef, known._state), tmp_path)
    letter_tokenizer().save_pretrained(tmp_path)
    loaded = CLIPFeatures.load(tmp_path)
    assert loaded._normalisation == known._normalisation != CLIPFeatures.load()._normalisation
    np.testing.assert_allclose(loaded.texts(["abc", "x"]), known.texts(["abc", "x"]), rtol=1e-5)


def test_a_missing_clip_is_said():
    with pytest.raises(CheckpointError, match="neither an existing folder nor"):
        Evaluator.load(clip="no/such/folder/here")
