"""Tests of img2img_jax.data.line_drawing."""

import numpy as np
import pytest

from img2img_jax.data.emoji_sources import Icon
from img2img_jax.data.line_drawing import LINE_WIDTH, line_drawing
from img2img_jax.data.svg import on_white, rasterise


def _drawn(body, view=32.0):
    return on_white(rasterise(line_drawing(Icon(body=body, view_box=(0.0, 0.0, view, view))), 128, 2))


def test_only_greys_remain_and_most_is_white():
    image = _drawn('<circle cx="16" cy="16" r="15" fill="#e22"/><g fill="#2e2"><path d="M10 10h12v12h-12z"/></g>')
    assert np.ptp(image.astype(int), axis=-1).max() <= 2
    assert (image > 200).mean() > 0.8
    assert image[64, 64, 0] == 255 and image.min() < 40


def test_strokes_are_not_clipped_at_the_edge_of_the_view_box():
    image = _drawn('<path fill="#e22" d="M0 0h32v32H0z"/>')
    assert (image[:3] == 255).all() and (image[:, :3] == 255).all()
    line = image[64, :32, 0] < 128
    assert abs(line.sum() - 128 * LINE_WIDTH) <= 1


def test_upper_shapes_hide_the_lines_of_lower_ones():
    image = _drawn('<circle cx="16" cy="16" r="4" fill="#111"/><path fill="#e22" d="M2 2h28v28H2z"/>')
    assert (image[30:98, 30:98] == 255).all()


def test_faint_tints_are_left_out():
    opaque = '<path fill="#e22" d="M2 2h28v28H2z"/>'
    tint = '<path fill="#fff" opacity=".3" d="M8 8h16v16H8z"/><path fill="#fff" fill-opacity=".2" d="M8 8h9v9H8z"/>'
    np.testing.assert_array_equal(_drawn(opaque + tint), _drawn(opaque))


def test_opaque_parts_lose_their_remaining_transparency():
    assert _drawn('<path fill="#e22" opacity=".6" d="M2 2h28v28H2z"/>').min() < 20


def test_a_wide_stroke_becomes_an_outlined_band():
    image = _drawn('<path fill="none" stroke="#393" stroke-width="8" d="M2 16h28"/>')
    middle = image[:, 64, 0]
    assert middle[64] == 255
    assert np.count_nonzero(np.diff((middle < 128).astype(int)) == 1) == 2


def test_a_thin_stroke_becomes_one_line():
    image = _drawn('<path fill="none" stroke="#393" stroke-width="1" d="M2 2L30 30"/>')
    assert np.count_nonzero(np.diff((image[64, :, 0] < 128).astype(int)) == 1) == 1


@pytest.mark.parametrize("body", ['<path fill="none" d="M2 2h28v28H2z"/>', '<g fill="none"><path d="M2 2h9v9z"/></g>'])
def test_invisible_shapes_stay_invisible(body):
    assert (_drawn(body) == 255).all()


def test_shapes_used_from_definitions_are_outlined():
    body = '<defs><path id="a" d="M2 2h28v28H2z"/></defs><use href="#a" fill="#e22"/>'
    image = _drawn(body)
    assert image.min() < 20 and image[64, 64, 0] == 255
