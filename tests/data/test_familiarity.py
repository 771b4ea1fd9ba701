"""Tests of img2img_jax.data.familiarity."""

from img2img_jax.data.emoji_sources import Concept
from img2img_jax.data.familiarity import FAMILIAR, concept_ranks, subgroups

_NAMES = [
    ("grinning squinting face", "Smileys & Emotion"),
    ("waving hand", "People & Body"),
    ("monkey face", "Animals & Nature"),
    ("cat", "Animals & Nature"),
    ("grapes", "Food & Drink"),
    ("mango", "Food & Drink"),
    ("red apple", "Food & Drink"),
    ("tram", "Travel & Places"),
    ("thread", "Activities"),
    ("pager", "Objects"),
    ("ATM sign", "Symbols"),
]
_CONCEPTS = [
    Concept(id=str(order), name=name, keywords=(), group=group, order=order)
    for order, (name, group) in enumerate(_NAMES)
]


def test_ranks_are_a_permutation_with_familiar_things_first_and_signs_last():
    ranks = concept_ranks(_CONCEPTS)
    assert sorted(ranks.values()) == list(range(len(_CONCEPTS)))
    ordered = [_NAMES[int(concept)][0] for concept in sorted(ranks, key=ranks.get)]
    assert ordered == [
        "red apple",
        "grapes",
        "cat",
        "mango",
        "monkey face",
        "pager",
        "thread",
        "tram",
        "grinning squinting face",
        "waving hand",
        "ATM sign",
    ]


def test_familiar_names_are_told_once():
    names = [name.strip() for name in FAMILIAR]
    assert len(names) == len(set(names)) >= 100 and all(names)


def test_subgroups_last_until_the_next_begins():
    found = subgroups(_CONCEPTS)
    assert [found[str(order)] for order in (0, 1, 3, 4, 5, 6, 10)] == [
        "other",
        "hand",
        "animal-mammal",
        "food-fruit",
        "food-fruit",
        "food-fruit",
        "symbol",
    ]
