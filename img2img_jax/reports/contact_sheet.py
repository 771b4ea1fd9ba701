"""Contact sheet: many pictures on one, in a labelled grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont


@dataclasses.dataclass(frozen=True, kw_only=True)
class Style:
    """Sizes in pixels, colours as CSS names.

    `font` names a TrueType or OpenType file. Pillow's own font, the default, has Latin letters without
    accents; other characters come out as boxes.
    """

    font: str | None = None
    margin: int = 16
    gap: int = 8
    font_size: int = 16
    title_size: int = 22
    label_width: int = 180
    paper: str = "white"
    ink: str = "black"
    empty: str = "lightgrey"


def contact_sheet(
    rows: Sequence[Sequence[Image.Image | None]],
    *,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    title: str = "",
    max_cell: int = 256,
    style: Style | None = None,
) -> Image.Image:
    """Lays pictures out in a grid; labels are wrapped and never cut off.

    Args:
      rows: one sequence of pictures per row; None leaves a grey cell. Short rows are filled with grey cells.
      row_labels: one text per row, to its left; column_labels: one per column, above it.
      title: text over everything.
      max_cell: pictures with a longer side than this (pixels) are shrunk to it; smaller ones stay.
      style: fonts, gaps and colours.

    Returns:
      An RGB image.

    Raises:
      ValueError: there is no picture, or the number of labels is not that of the rows or columns.
    """
    style = style or Style()
    columns = max((len(row) for row in rows), default=0)
    for name, labels, count in (("row", row_labels, len(rows)), ("column", column_labels, columns)):
        if labels is not None and len(labels) != count:
            raise ValueError(f"{len(labels)} {name} labels for {count} {name}s; give one each")
    grid = [[shrink(image, max_cell) for image in row] + [None] * (columns - len(row)) for row in rows]
    sizes = [image.size for row in grid for image in row if image]
    if not sizes:
        raise ValueError("a contact sheet needs at least one picture")
    cell = (max(width for width, _ in sizes), max(height for _, height in sizes))
    return _draw(grid, cell, row_labels, column_labels, title, style)


def shrink(image: Image.Image | None, max_side: int) -> Image.Image | None:
    """A copy whose longer side is at most `max_side` pixels; smaller pictures, and None, as they are."""
    if image is None or max(image.size) <= max_side:
        return image
    scale = max_side / max(image.size)
    return image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)


def _draw(grid, cell, row_labels, column_labels, title, style: Style) -> Image.Image:
    columns, label_width = len(grid[0]), style.label_width if row_labels else 0
    left = style.margin + label_width + (style.gap if label_width else 0)
    width = left + columns * (cell[0] + style.gap) - style.gap + style.margin

    body = _font(style.font, style.font_size)
    heading = _Text(title, _font(style.font, style.title_size), width - 2 * style.margin)
    tops = [_Text(label, body, cell[0]) for label in column_labels or ()]
    sides = [_Text(label, body, label_width) for label in row_labels or ()]
    heights = [max(cell[1], sides[i].height if sides else 0) for i in range(len(grid))]

    first_row = style.margin + sum(
        height + style.gap for height in (heading.height, max((t.height for t in tops), default=0)) if height
    )
    height = first_row + sum(heights) + style.gap * (len(grid) - 1) + style.margin
    sheet = Image.new("RGB", (width, height), style.paper)
    draw = ImageDraw.Draw(sheet)

    heading.draw(draw, style.margin, style.margin, style.ink)
    for column, text in enumerate(tops):
        text.draw(draw, left + column * (cell[0] + style.gap), first_row - style.gap - text.height, style.ink)
    y = first_row
    for row, row_height in enumerate(heights):
        if sides:
            sides[row].draw(draw, style.margin, y, style.ink)
        for column, image in enumerate(grid[row]):
            x = left + column * (cell[0] + style.gap)
            if image is None:
                draw.rectangle((x, y, x + cell[0] - 1, y + cell[1] - 1), fill=style.empty)
            else:
                sheet.paste(image, (x + (cell[0] - image.width) // 2, y + (cell[1] - image.height) // 2))
        y += row_height + style.gap
    return sheet


def _font(path: str | None, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


class _Text:
    """A text broken into lines that fit a width, with the height they take."""

    def __init__(self, text: str, font: ImageFont.FreeTypeFont, width: int):
        self.font, self.lines = font, _wrap(text, font, width)
        ascent, descent = font.getmetrics()
        self.line_height = ascent + descent
        self.height = self.line_height * len(self.lines)

    def draw(self, draw: ImageDraw.ImageDraw, x: int, y: int, ink: str) -> None:
        for number, line in enumerate(self.lines):
            draw.text((x, y + number * self.line_height), line, fill=ink, font=self.font)


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Breaks at line ends, then between words, and within a word only if it alone is too wide."""
    lines = []
    text = text.encode("utf-8", "replace").decode()  # a font cannot draw half a surrogate pair
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            wider = f"{line} {word}" if line else word
            if font.getlength(wider) <= width:
                line = wider
                continue
            if line:
                lines.append(line)
            *pieces, line = _break(word, font, width)
            lines += pieces
        lines.append(line)
    return lines


def _break(word: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    pieces = [""]
    for character in word:
        if pieces[-1] and font.getlength(pieces[-1] + character) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces
