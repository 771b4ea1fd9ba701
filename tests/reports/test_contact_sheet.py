"""Pictures stand unchanged where they belong, and no label is cut off or runs into anything."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from img2img_jax.reports.contact_sheet import Style, _Text, contact_sheet

PURE = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255)]


def _tiles(count, size=(32, 24)):
    return [Image.new("RGB", size, color) for color in PURE[:count]]


def _box(sheet, color):
    """(left, top, right, bottom) of all pixels of one colour, and how many there are."""
    y, x = np.nonzero((np.asarray(sheet) == color).all(-1))
    return (x.min(), y.min(), x.max() + 1, y.max() + 1), len(x)


def test_pictures_stand_in_rows_and_columns_unchanged():
    tiles = _tiles(6)
    labels = {"row_labels": ["a", "b"], "column_labels": ["1", "2", "3"]}
    sheet = contact_sheet([tiles[:3], tiles[3:]], title="t", **labels)
    boxes = []
    for color in PURE:
        (left, top, right, bottom), count = _box(sheet, color)
        assert (right - left, bottom - top, count) == (32, 24, 32 * 24)
        boxes.append((left, top))
    lefts, tops = zip(*boxes, strict=True)
    assert lefts[:3] == lefts[3:] and lefts[0] < lefts[1] < lefts[2]
    assert len(set(tops[:3])) == len(set(tops[3:])) == 1 and tops[0] < tops[3]


def test_large_pictures_shrink_with_their_aspect_and_small_ones_do_not_grow():
    large, small = Image.new("RGB", (400, 200), PURE[0]), Image.new("RGB", (8, 8), PURE[1])
    sheet = contact_sheet([[large, small]], max_cell=100)
    assert _box(sheet, PURE[0])[1] == 100 * 50
    assert _box(sheet, PURE[1])[1] == 8 * 8


def test_missing_pictures_are_grey_cells():
    sheet = contact_sheet([_tiles(2), [None]])
    assert _box(sheet, (211, 211, 211))[1] == 2 * 32 * 24


def _ink(text, font, width=4000):
    """How many pixels a text blackens when there is room for everything."""
    canvas = Image.new("RGB", (width, 4000), "white")
    _Text(text, font, width).draw(ImageDraw.Draw(canvas), 50, 50, "black")
    return int((np.asarray(canvas)[..., 0] < 255).sum())


LABELS = ["0.2", "strength 0.6, continuous", "W" * 60, "gjpqy " * 20, "a\nb\n\nc", "\udcff"]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("place", ["row", "column", "title"])
def test_no_label_is_cut_off(label, place):
    """All the ink of the label arrives on the sheet, inside the margins, and none of it on the pictures."""
    style = Style(margin=10, label_width=70)
    font = ImageFont.load_default(style.title_size if place == "title" else style.font_size)
    width = {"row": 70, "column": 40, "title": 40}[place]
    text = {"title": label} if place == "title" else {f"{place}_labels": [label]}
    sheet = contact_sheet([[Image.new("RGB", (40, 40), PURE[0])]], style=style, **text)
    assert _box(sheet, PURE[0])[1] == 40 * 40
    pixels = np.asarray(sheet)
    inside = pixels[10 - 2 : -10 + 2, 10 - 2 : -10 + 2]  # two pixels for the overhang of letters
    dark = (pixels[..., 1] < 255).sum() - 40 * 40
    assert (inside[..., 1] < 255).sum() - 40 * 40 == dark
    wrapped = "\n".join(_Text(label, font, width).lines)
    assert dark == _ink(wrapped, font)
    assert "".join(wrapped.split()) == "".join(label.split()).replace("\udcff", "?")


def test_long_labels_make_room():
    row = [_tiles(1)]
    short, long = (contact_sheet(row, row_labels=[text]) for text in ("apple", "a red apple " * 20))
    assert long.height > short.height and long.width == short.width


def test_wrong_numbers_of_labels_and_no_picture():
    with pytest.raises(ValueError, match="1 row labels for 2 rows"):
        contact_sheet([_tiles(1), _tiles(1)], row_labels=["a"])
    with pytest.raises(ValueError, match="3 column labels for 2 columns"):
        contact_sheet([_tiles(2)], column_labels=["a", "b", "c"])
    for nothing in ([], [[]], [[None]]):
        with pytest.raises(ValueError, match="at least one picture"):
            contact_sheet(nothing)
