"""The CLIP that ships with the package is the default, and it can see."""

import numpy as np
import pytest
from flax import nnx
from PIL import Image, ImageDraw

from img2img_jax.checkpoints import CheckpointError, save_component
from img2img_jax.metrics import Evaluator
from img2img_jax.metrics.clip_features import CLIPFeatures
from img2img_jax.testing.tiny import letter_tokenizer


def disc(colour):
    picture = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(picture).ellipse((8, 8, 56, 56), fill=colour)
    return np.asarray(picture, np.float32) / 255


def test_the_embedded_clip_knows_colours():
    colours = ["red", "blue", "green"]
    images, texts = zip(*[(disc(picture), text) for picture in colours for text in colours], strict=True)
    images = np.stack(images)
    shown = Evaluator.load(["clip_text"])(images, images, prompt=[f"{text} circle, flat style" for text in texts])
    best = np.asarray(shown["clip_text"]).reshape(3, 3).argmax(1)
    assert best.tolist() == [0, 1, 2]


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
