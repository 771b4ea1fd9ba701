"""Tests of img2img_jax.data.tokenizer."""

import json

import numpy as np
import pytest

from img2img_jax.data.tokenizer import END, START, ClipTokenizer, train

_TEXTS = ["red apple, flat style", "green apple", "line drawing", "3d style"] * 20


def test_layout_is_clip_s(tmp_path):
    tokenizer = train(_TEXTS, tmp_path, vocab_size=560, max_length=12)
    vocab = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    assert list(vocab.values()) == list(range(len(vocab))) and tokenizer.vocab_size == len(vocab) <= 560
    assert vocab["!"] == 0 and vocab["!</w>"] == 256
    assert vocab[START] == len(vocab) - 2 and vocab[END] == len(vocab) - 1
    assert "apple</w>" in vocab


def test_vocabulary_is_cut_to_size(tmp_path):
    assert train(_TEXTS, tmp_path, vocab_size=520).vocab_size == 520


def test_too_small_a_vocabulary_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must exceed 514, got 514"):
        train(_TEXTS, tmp_path, vocab_size=514)


def test_ids_are_framed_padded_and_cut(tmp_path):
    tokenizer = train(_TEXTS, tmp_path, max_length=8)
    start, end = tokenizer.vocab_size - 2, tokenizer.vocab_size - 1
    ids = tokenizer(["Red  Apple", "", "red apple, flat style, red apple, flat style"])
    assert ids.shape == (3, 8) and ids.dtype == np.int32
    assert (ids[:, 0] == start).all()
    assert ids[0, 3:].tolist() == [end] * 5
    assert ids[1, 1:].tolist() == [end] * 7
    assert ids[2, -1] == end and (ids[2, 1:-1] < start).all()


def test_any_text_has_ids(tmp_path):
    tokenizer = train(_TEXTS, tmp_path)
    unseen = "zyxwvutsrqponmlkjihgfedcba 0123456789 café 日本 😀 ~`@#$%^&*"
    vocab = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    assert all(token in vocab and token != END for token in tokenizer.tokens(unseen))
    assert "".join(tokenizer.tokens("xylophone qua")).replace("</w>", " ") == "xylophone qua "


def test_training_is_repeatable(tmp_path):
    texts = [f"word{first}{second}" for first in "abcdefghij" for second in "klmnopqrst"]
    for name in ("one", "two"):
        train(texts, tmp_path / name)
    assert (tmp_path / "one" / "merges.txt").read_bytes() == (tmp_path / "two" / "merges.txt").read_bytes()


def test_loading_gives_the_same_ids(tmp_path):
    tokenizer = train(_TEXTS, tmp_path, max_length=10)
    loaded = ClipTokenizer.load(tmp_path)
    assert loaded.max_length == 10
    texts = ["red pear, 3d style", "it's a dog's life"]
    np.testing.assert_array_equal(loaded(texts), tokenizer(texts))


def test_loading_honours_the_padding_token(tmp_path):
    train(_TEXTS, tmp_path, max_length=6)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": {"content": "!"}}))
    assert ClipTokenizer.load(tmp_path)([""])[0, 2:].tolist() == [0] * 4


def test_loading_names_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no vocab\.json"):
        ClipTokenizer.load(tmp_path)


def test_other_vocabularies_are_refused():
    with pytest.raises(ValueError, match="lacks .*startoftext"):
        ClipTokenizer({"a": 0, END: 1}, [], 8)
