"""Tests of img2img_jax.data.captions."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from img2img_jax.data.captions import canonical, caption, clean_name, corpus, keywords, split_colour


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("red apple", "red apple"),
        ("Japanese “here” button", "japanese here button"),
        ("A button (blood type)", "a button blood type"),
        ("piñata", "pinata"),
        ("man’s shoe", "man's shoe"),
        ("T-Rex", "dinosaur"),
        ("automobile", "car"),
        ("UP! button", "up button"),
    ],
)
def test_clean_name(name, expected):
    assert clean_name(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("red apple", ("red", "apple")),
        ("large blue diamond", ("blue", "large diamond")),
        ("light blue heart", ("light blue", "heart")),
        ("man red hair", (None, "man red hair")),
        ("leafy green", (None, "leafy green")),
        ("greenhouse", (None, "greenhouse")),
        ("pear", (None, "pear")),
    ],
)
def test_split_colour(name, expected):
    assert split_colour(name) == expected


def test_canonical(apple):
    assert canonical(apple) == "red apple, flat style"
    assert canonical(apple, "blue") == "blue apple, flat style"
    assert canonical(replace(apple, name="pear")) == "pear, flat style"
    assert canonical(replace(apple, style="line drawing")) == "apple, line drawing"
    assert canonical(replace(apple, style="openmoji")) == "red apple"


def _captions(record, count=2000, colour=None):
    rng = np.random.default_rng(0)
    return [caption(record, rng, colour) for _ in range(count)]


def test_caption_rates(apple):
    found = _captions(apple)
    assert abs(np.mean([text.endswith("flat style") for text in found]) - 0.85) < 0.03
    assert abs(np.mean(["fruit" in text or "health" in text for text in found]) - 0.2) < 0.03
    assert abs(np.mean([text.startswith(("a ", "an ")) for text in found]) - 0.1) < 0.03
    assert all("red apple" in text and text == text.lower() for text in found)
    assert Counter(found).most_common(1)[0][0] == "red apple, flat style"


def test_measured_colour_is_named_half_the_time(apple):
    found = _captions(replace(apple, name="pear", colour="green"))
    assert abs(np.mean(["green pear" in text for text in found]) - 0.5) < 0.04
    people = _captions(replace(apple, name="person", colour="yellow", group="People & Body"), 200)
    assert not any("yellow" in text for text in people)


def test_given_colour_replaces_the_name_s_own(apple):
    assert all("blue apple" in text and "red" not in text.split() for text in _captions(apple, 300, "blue"))


def test_line_drawings_have_no_colour(apple):
    found = _captions(replace(apple, style="line drawing", colour=None), 300)
    assert not any("red" in text.split() for text in found)
    assert any(text == "apple, line drawing" for text in found)


def test_captions_depend_on_the_generator_alone(apple):
    assert _captions(apple, 50) == _captions(apple, 50)
    first, second = np.random.default_rng(1), np.random.default_rng(1)
    caption(apple, first)
    caption(replace(apple, keywords=(), style="openmoji"), second, "blue")
    assert first.random() == second.random()


def test_keywords_are_words_that_add_something(apple):
    words = ("red_apple", "fruit", "fruit", ":)", "big_red_one", "school teacher", "ab", "Mac")
    assert keywords(replace(apple, keywords=words)) == ["fruit", "school teacher", "mac"]


def test_corpus_holds_each_concept_once(apple):
    texts = Counter(corpus([apple, replace(apple, style="3d style")]))
    assert texts["red apple"] == 8 and texts["fruit"] == 1
    assert {"flat style", "line drawing", "purple", "a picture of"} <= set(texts)
