"""Prompts to ids: cut and told, or in chunks with weights."""

import numpy as np
import pytest
from absl import logging

from img2img_jax.checkpoints import EMBEDDED_MODEL, TokenizerSource
from img2img_jax.prompts import check_syntax, load_tokenizer, read_chunks, stack_chunks, tokenize
from img2img_jax.testing.tiny import letter_tokenizer

LENGTH = 16


@pytest.fixture(scope="module")
def tokenizer():
    return letter_tokenizer(LENGTH)


@pytest.fixture
def warnings(monkeypatch):
    told = []
    monkeypatch.setattr(logging, "warning", lambda message, *values: told.append(message % values))
    return told


def test_what_is_cut_off_is_told(tokenizer, warnings):
    tokenize(tokenizer, ["abcdefghijklmn"], LENGTH)
    assert warnings == []
    [ids] = tokenize(tokenizer, ["abcdefghijklmn opq rs"], LENGTH)
    [told] = warnings
    assert "21 tokens" in told and " 16;" in told and "'opqrs'" in told.replace(" ", "") and "a1111" in told
    assert tokenizer.decode(ids[1:-1]).replace(" ", "") == "abcdefghijklmn"


def test_plain_is_literal(tokenizer):
    [tokens] = read_chunks(tokenizer, "(a:1.2) BREAK", LENGTH, "plain")
    assert [token for token, _ in tokens] == tokenizer("(a:1.2) BREAK", padding="max_length").input_ids
    assert {weight for _, weight in tokens} == {1.0}


def test_chunks_have_their_own_start_and_end(tokenizer, warnings):
    first, second = read_chunks(tokenizer, "abcdefgh(ijklmnopq:1.5) r", LENGTH, "a1111")
    start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    for tokens, text, weights in (
        (first, "abcdefghijklmn", [1] * 8 + [1.5] * 6),
        (second, "opqr", [1.5] * 3 + [1]),
    ):
        padding = LENGTH - 2 - len(text)
        ids = [token for token, _ in tokens]
        assert ids[0] == start and ids[len(text) + 1 :] == [end] + [pad] * padding
        assert tokenizer.decode(ids[1 : len(text) + 1]).replace(" ", "") == text
        assert [weight for _, weight in tokens] == [1, *weights, 1] + [1] * padding
    assert warnings == []


@pytest.mark.parametrize("prompt", ["", "a red apple, 3d style"])
def test_a_short_prompt_without_markup_is_the_same_in_both_syntaxes(prompt):
    tokenizer = load_tokenizer(TokenizerSource(origin=EMBEDDED_MODEL / "tokenizer"))
    assert read_chunks(tokenizer, prompt, 24, "a1111") == read_chunks(tokenizer, prompt, 24, "plain")


def test_a_cut_goes_back_to_a_comma():
    """24 tokens hold 22; five of them may move on."""
    tokenizer = load_tokenizer(TokenizerSource(origin=EMBEDDED_MODEL / "tokenizer"))
    chunks = read_chunks(tokenizer, ", ".join(["green apple"] * 10), 24, "a1111")
    texts = [tokenizer.decode([token for token, _ in tokens], skip_special_tokens=True) for tokens in chunks]
    assert [text.count("green") for text in texts] == [7, 3]
    assert texts[0].rstrip().endswith(",")


def test_stacked_prompts_are_filled_with_empty_chunks(tokenizer):
    prompts = [read_chunks(tokenizer, text, LENGTH, "a1111") for text in ("a", "(b) BREAK c")]
    ids, weights = stack_chunks(tokenizer, prompts, 3)
    assert ids.shape == weights.shape == (2, 3, LENGTH)
    assert (ids.dtype, weights.dtype) == (np.int32, np.float32)
    empty = tokenize(tokenizer, [""], LENGTH)[0]
    filled = [(0, 1), (0, 2), (1, 2)]
    assert [tuple(place) for place in np.argwhere((ids == empty).all(-1))] == filled
    np.testing.assert_array_equal(ids[0, 0], tokenize(tokenizer, ["a"], LENGTH)[0])
    assert weights[1, 0, 1] == np.float32(1.1) and (weights != 1).sum() == 1


def test_unknown_syntax():
    with pytest.raises(ValueError, match="prompt_syntax='compel'.*plain, a1111"):
        check_syntax("compel")
