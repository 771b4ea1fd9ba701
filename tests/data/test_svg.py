"""Tests of img2img_jax.data.svg."""

import sys
import types

import numpy as np
import pytest

from img2img_jax.data.emoji_sources import Icon
from img2img_jax.data.svg import FILL, MAX_ENLARGEMENT, fitted, on_white, rasterise


def _square(x, y, side, view=32):
    body = f'<path fill="#f00" d="M{x} {y}h{side}v{side}h-{side}z"/>'
    return Icon(body=body, view_box=(0.0, 0.0, view, view))


def _extent(alpha):
    rows = np.flatnonzero((alpha > 127).any(axis=1))
    columns = np.flatnonzero((alpha > 127).any(axis=0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


@pytest.mark.parametrize("supersampling", [1, 3])
def test_rasterise_gives_straight_alpha(supersampling):
    rgba = rasterise(_square(8, 8, 16), 32, supersampling)
    assert rgba.shape == (32, 32, 4) and rgba.dtype == np.uint8
    assert rgba[16, 16].tolist() == [255, 0, 0, 255]
    assert rgba[2, 2, 3] == 0
    assert _extent(rgba[..., 3]) == (8, 24, 8, 24)


@pytest.mark.parametrize(("x", "y", "side"), [(1, 1, 30), (0, 4, 28), (3, 0, 29)])
def test_fitted_centres_the_drawing_and_fills_the_canvas(x, y, side):
    top, bottom, left, right = _extent(rasterise(fitted(_square(x, y, side)), 128)[..., 3])
    assert abs((bottom - top) / 128 - FILL) < 0.04
    assert abs((right - left) / 128 - FILL) < 0.04
    assert abs(top + bottom - 128) <= 3 and abs(left + right - 128) <= 3


def test_fitted_hides_what_lies_outside_the_old_view_box():
    stray = Icon(body=_square(1, 1, 30).body + _square(10, -6, 5).body, view_box=(0.0, 0.0, 32.0, 32.0))
    np.testing.assert_array_equal(rasterise(fitted(stray), 64), rasterise(fitted(_square(1, 1, 30)), 64))


def test_fitted_keeps_small_drawings_small():
    top, bottom, _, _ = _extent(rasterise(fitted(_square(12, 12, 8)), 128)[..., 3])
    assert abs((bottom - top) - 128 * 8 / 32 * MAX_ENLARGEMENT) <= 3


def test_fitted_leaves_an_empty_picture_alone():
    icon = Icon(body="<g/>", view_box=(0.0, 0.0, 32.0, 32.0))
    assert fitted(icon).view_box == icon.view_box


def test_on_white_blends():
    rgba = np.array([[[0, 0, 0, 0], [0, 0, 0, 255], [255, 0, 0, 51]]], np.uint8)
    assert on_white(rgba).tolist() == [[[255, 255, 255], [0, 0, 0], [255, 204, 204]]]


class PanicException(BaseException):
    """As a Rust panic arrives: by name only."""


def _renderer(monkeypatch, failures, error):
    import resvg_py

    seen = []

    def svg_to_bytes(**arguments):
        seen.append(arguments["svg_string"])
        if len(seen) <= failures:
            raise error
        return resvg_py.svg_to_bytes(**arguments)

    monkeypatch.setitem(sys.modules, "resvg_py", types.SimpleNamespace(svg_to_bytes=svg_to_bytes))
    return seen


def test_a_renderer_panic_is_tried_again_at_another_zoom(monkeypatch):
    seen = _renderer(monkeypatch, 2, PanicException("index out of bounds"))
    assert _extent(rasterise(_square(8, 8, 16), 32)[..., 3]) == (8, 24, 8, 24)
    assert len(set(seen)) == 3


def test_a_renderer_that_always_panics_names_the_picture(monkeypatch):
    _renderer(monkeypatch, 99, PanicException("index out of bounds"))
    with pytest.raises(ValueError, match="fails at every zoom.*M8 8h16"):
        rasterise(_square(8, 8, 16), 32)


def test_other_errors_are_not_swallowed(monkeypatch):
    _renderer(monkeypatch, 1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        rasterise(_square(8, 8, 16), 32)
