import numpy as np
import pytest

from img2img_jax.micro_conditioning import columns, count, time_ids

SIZE = (16, 24)


def numbers(scored=False, batch=1, **given):
    filled = {name: column * (batch // len(column)) for name, column in columns(given, scored).items()}
    return time_ids(filled, scored, SIZE).tolist()


def test_defaults_describe_an_uncropped_picture():
    assert numbers() == [[[16, 24, 0, 0, 16, 24]] * 2]
    assert numbers(scored=True) == [[[16, 24, 0, 0, 2.5], [16, 24, 0, 0, 6]]]
    assert (count(False), count(True)) == (6, 5)


def test_order_is_original_crop_target():
    found = numbers(original_size=(1, 2), crops_coords_top_left=(3, 4), target_size=(5, 6))
    assert found == [[[1, 2, 3, 4, 5, 6]] * 2]


def test_the_negative_description_is_its_own_where_given():
    negative = dict(negative_original_size=(7, 8), negative_crops_coords_top_left=(9, 10), negative_target_size=(1, 2))
    assert numbers(**negative) == [[[7, 8, 9, 10, 1, 2], [16, 24, 0, 0, 16, 24]]]
    scores = dict(aesthetic_score=7, negative_aesthetic_score=1.5, crops_coords_top_left=(3, 4), scored=True)
    assert numbers(**scores) == [[[16, 24, 0, 0, 1.5], [16, 24, 3, 4, 7]]]


def test_samples_have_their_own():
    found = numbers(batch=2, original_size=[(1, 2), (3, 4)], target_size=np.array([5, 6]))
    assert found == [[[1, 2, 0, 0, 5, 6]] * 2, [[3, 4, 0, 0, 5, 6]] * 2]
    assert [row[1][-1] for row in numbers(scored=True, batch=2, aesthetic_score=[4, 5])] == [4, 5]


@pytest.mark.parametrize(
    ("given", "scored", "message"),
    [
        (dict(original_size=16), False, "original_size=16 is not a pair"),
        (dict(original_size=(16, 24, 3)), False, r"original_size=\(16, 24, 3\) is not a pair"),
        (dict(target_size=(16, float("nan"))), False, "target_size=.* is not a pair"),
        (dict(crops_coords_top_left=(-1, 0)), False, r"crops_coords_top_left=\(-1, 0\) .*0 or more"),
        (dict(negative_target_size="ab"), False, "negative_target_size='ab' is not a pair"),
        (dict(original_size=[[(1, 2)]]), False, "original_size=.* is not a pair"),
        (dict(aesthetic_score=(6, "x")), True, "aesthetic_score=.* is not a number"),
        (dict(aesthetic_score=6), False, "aesthetic_score=6 .*requires_aesthetics_score is False.*target_size; leave"),
        (dict(negative_aesthetic_score=6), False, "negative_aesthetic_score=6 "),
        (dict(target_size=SIZE), True, r"target_size=\(16, 24\) .*requires_aesthetics_score is True.*; leave"),
    ],
)
def test_wrong_values_are_named(given, scored, message):
    with pytest.raises(ValueError, match=message):
        columns(given, scored)
