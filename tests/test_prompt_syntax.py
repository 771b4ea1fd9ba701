"""What brackets, escapes and BREAK mean, where chunks are cut, and what weights do to states."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2img_jax.prompt_syntax import Span, chunk, emphasised, parse

UP, DOWN = 1.1, 1 / 1.1

ONE_PART = {
    "a red cat": [("a red cat", 1)],
    "a (red:1.3) cat": [("a ", 1), ("red", 1.3), (" cat", 1)],
    "(red:.5)": [("red", 0.5)],
    "(red : 2 )": [("red ", 2)],
    "(red:-1)": [("red", -1)],
    "(a) [b] c": [("a", UP), (" ", 1), ("b", DOWN), (" c", 1)],
    "((a) b)": [("a", UP**2), (" b", UP)],
    "[[a]]": [("a", DOWN**2)],
    "[(a)]": [("a", 1)],
    "(a (b:2) c:1.5)": [("a ", 1.5), ("b", 3), (" c", 1.5)],
    "(a)(b)": [("ab", UP)],
    "(a [b) c]": [("a ", UP), ("b", UP * DOWN), (" c", DOWN)],
    "(a (b": [("a ", UP), ("b", UP**2)],
    "a [b": [("a ", 1), ("b", DOWN)],
    "a) b] c:2)": [("a) b] c:2)", 1)],
    r"\(a\) \[b\] \\(c)": [("(a) [b] \\", 1), ("c", UP)],
    r"(a \(b\):1.2)": [("a (b)", 1.2)],
    "a\\b": [("ab", 1)],
    "ratio 3:2, time 12:30": [("ratio 3:2, time 12:30", 1)],
    "(a:b)": [("a:b", UP)],
    "(a:1.2.3)": [("a:1.2.3", UP)],
    "BREAKING (UNBREAK)": [("BREAKING ", 1), ("UNBREAK", UP)],
    "": [],
    "()": [],
}


@pytest.mark.parametrize("prompt", ONE_PART)
def test_weights(prompt):
    [spans] = parse(prompt)
    assert [span.text for span in spans] == [text for text, _ in ONE_PART[prompt]]
    np.testing.assert_allclose([span.weight for span in spans], [weight for _, weight in ONE_PART[prompt]], rtol=1e-12)


def test_break_parts_a_prompt_and_brackets_reach_over_it():
    assert parse("a BREAK b\nBREAK\nBREAK c") == [[Span("a")], [Span("b")], [], [Span("c")]]
    assert parse("(a BREAK b:2) c") == [[Span("a", 2)], [Span("b", 2), Span(" c")]]


@given(st.text("ab \\()[]:.,12\n", max_size=40))
def test_escaped_markup_is_plain_text(text):
    escaped = "".join("\\" + c if c in "\\()[]" else c for c in text)
    assert parse(escaped) == [[Span(text)] if text else []]


@given(st.text("ab()[] ", max_size=40))
def test_only_brackets_are_removed(text):
    """Unclosed ones too; what closes nothing stays."""
    [spans] = parse(text)
    found = "".join(span.text for span in spans)
    assert "(" not in found and "[" not in found
    assert [c for c in found if c in "ab "] == [c for c in text if c in "ab "]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a <lora:x:0.5>", "'<lora:x:0.5>'.*pipeline"),
        ("a [cat|dog]", r"'\[cat\|dog\]'.*alternation"),
        ("a [cat:dog:0.5]", r"'\[cat:dog:0.5\]'.*prompt editing"),
        ("a cat AND a dog", "'AND'.*composition"),
        ("(a:" + "9" * 400 + ")", "too large"),
        ("(" * 9000 + "a", "too large"),
    ],
)
def test_what_is_not_read_is_refused_with_the_remedy(prompt, message):
    with pytest.raises(ValueError, match=message):
        parse(prompt)


def test_escapes_keep_unread_syntax_as_text():
    assert parse(r"a \[cat|dog\]") == [[Span("a [cat|dog]")]]


COMMA = 0


def chunks_of(*parts, size=8):
    return [
        [token for token, _ in tokens] for tokens in chunk([[(t, 1.0) for t in part] for part in parts], size, COMMA)
    ]


def test_chunks_are_filled_in_turn():
    assert chunks_of([]) == [[]]
    assert chunks_of(range(1, 9)) == [[1, 2, 3, 4, 5, 6, 7, 8]]
    assert chunks_of(range(1, 19)) == [[*range(1, 9)], [*range(9, 17)], [17, 18]]


def test_a_cut_goes_back_to_a_near_comma():
    """Of 8 tokens, 2 may move on."""
    assert chunks_of([1, 2, 3, 4, 5, 6, COMMA, 7, 8, 9]) == [[1, 2, 3, 4, 5, 6, COMMA], [7, 8, 9]]
    assert chunks_of([1, 2, 3, 4, 5, COMMA, 6, 7, 8, 9]) == [[1, 2, 3, 4, 5, COMMA, 6, 7], [8, 9]]
    assert chunks_of([1, 2, 3, 4, 5, 6, 7, COMMA, 8]) == [[1, 2, 3, 4, 5, 6, 7, COMMA], [8]]
    assert chunks_of([1, 2, 3, 4, 5, 6, COMMA, 7, COMMA, 8]) == [[1, 2, 3, 4, 5, 6, COMMA, 7], [COMMA, 8]]
    assert chunks_of([1, 2, 3, 4, 5, 6, COMMA, 7], [8]) == [[1, 2, 3, 4, 5, 6, COMMA, 7], [8]]


def test_parts_share_no_chunk():
    assert chunks_of([1], [2, 3]) == [[1], [2, 3]]
    assert chunks_of([], [1]) == [[], [1]]
    assert chunks_of([1], [], [2]) == [[1], [], [2]]
    assert chunks_of([1], []) == [[1]]


@given(st.lists(st.lists(st.integers(0, 5), max_size=40), min_size=1, max_size=3), st.integers(1, 20))
def test_chunks_lose_nothing(parts, size):
    tokens = [[(t, 1.0) for t in part] for part in parts]
    found = chunk(tokens, size, COMMA)
    assert [token for c in found for token in c] == [token for part in tokens for token in part]
    assert 0 < len(found) and max(map(len, found)) <= size


def test_weights_multiply_states_and_keep_each_chunks_mean():
    states = np.random.default_rng(0).normal(0.3, 1, (2, 3, 4, 5)).astype(np.float32)
    weights = np.ones((2, 3, 4), np.float32)
    np.testing.assert_array_equal(emphasised(states, weights), states)
    weights[0, 1] = [1, 2, 0.5, 1]
    found = emphasised(states, weights)
    np.testing.assert_allclose(found.mean((-2, -1)), states.mean((-2, -1)), rtol=1e-4)
    changed = np.any(found != states, axis=(-2, -1))
    assert np.argwhere(changed).tolist() == [[0, 1]]
    ratio = found[0, 1] / states[0, 1]
    np.testing.assert_allclose(ratio[1] / ratio[0], 2, rtol=1e-4)
    np.testing.assert_allclose(ratio[2] / ratio[3], 0.5, rtol=1e-4)


def test_weights_of_zero_leave_no_division_by_zero():
    assert not emphasised(np.ones((1, 2, 3)), np.zeros((1, 2))).any()
