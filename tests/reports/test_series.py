"""Series hold one input at all strengths; those that do not fit are left out whole."""

import runpy
from pathlib import Path
from types import SimpleNamespace

from img2img_jax.reports.run_files import read_run
from img2img_jax.reports.series import embed, make_series

HELPERS = SimpleNamespace(**runpy.run_path(Path(__file__).parent / "conftest.py"))


def about(series):
    return [(one.image, one.seed) for one in series]


def test_a_series_is_in_order_of_strength(workdir):
    series = make_series(read_run(workdir).samples)
    assert about(series) == [(f"p{n}.png", seed) for n in range(5) for seed in (0, 1)]
    assert all([row["strength"] for row in one.rows] == [0, 0.4, 0.7, 1] for one in series)


def test_settings_and_prompts_are_series_of_their_own():
    rows = [
        {"image": image, "prompt": prompt, "scheduler": scheduler, "seed": 0, "strength": strength}
        for image in "ab"
        for prompt in "xy"
        for scheduler in ("ddim", "euler")
        for strength in (0.2, 0.1)
    ]
    series = make_series(rows)
    assert [(one.image, one.prompt, one.settings) for one in series[:3]] == [
        ("a", "x", "ddim"),
        ("a", "x", "euler"),
        ("a", "y", "ddim"),
    ]
    assert len(series) == 8


def test_every_input_has_a_series_before_any_has_two(workdir):
    series = make_series(read_run(workdir).samples)
    whole = embed(workdir, series, page_bytes=10**9, max_side=64)
    assert all(pictures is not None and all(pictures.outputs) and pictures.source for _, pictures in whole)
    first = {uri for _, pictures in whole[::2] for uri in (pictures.source, *pictures.outputs)}
    room = sum(map(len, first))  # for the five inputs, once each
    some = embed(workdir, series, page_bytes=room, max_side=64)
    assert about(one for one, pictures in some if pictures) == [(f"p{n}.png", 0) for n in range(5)]
    assert about(one for one, _ in some) == about(series)


def test_one_series_is_shown_however_small_the_page(workdir):
    series = make_series(read_run(workdir).samples)
    assert [pictures is None for _, pictures in embed(workdir, series, page_bytes=0, max_side=64)] == [False] + [
        True
    ] * 9


def test_an_input_is_encoded_once(workdir):
    entries = embed(workdir, make_series(read_run(workdir).samples), page_bytes=10**9, max_side=64)
    assert entries[0][1].source is entries[1][1].source
