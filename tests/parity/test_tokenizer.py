"""The tokenizer's files read by transformers, as diffusers reads them."""

import numpy as np
import transformers

from img2img_jax.data.tokenizer import ClipTokenizer, train

_TEXTS = [
    "red apple, flat style",
    "Person's  HAT, 3d style",
    "",
    "it's 42 café naïve 日本 😀 !? 'round the x-ray we'll",
    "an icon of hammer and pick, line drawing " * 5,
]


def test_transformers_gives_the_same_ids(tmp_path):
    train(["red apple, flat style", "hammer and pick, line drawing", "person's hat"] * 5, tmp_path, max_length=24)
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    assert theirs.model_max_length == 24
    expected = theirs(_TEXTS, padding="max_length", truncation=True, return_tensors="np").input_ids
    np.testing.assert_array_equal(ClipTokenizer.load(tmp_path)(_TEXTS), expected)


def test_transformers_decodes_back(tmp_path):
    train(["red apple", "flat style"] * 5, tmp_path)
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    text = "red apple flat zebra"
    assert theirs.decode(theirs(text).input_ids, skip_special_tokens=True) == text
