"""Line drawings derived from flat pictures: white fills, black outlines."""

import copy
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

from img2img_jax.data.emoji_sources import Icon
from img2img_jax.data.svg import document, fitted

_SVG = "{http://www.w3.org/2000/svg}"
_SHAPES = {f"{_SVG}{name}" for name in ("path", "circle", "ellipse", "rect", "polygon", "polyline", "line")}
_REMOVED = ("opacity", "fill-opacity", "stroke-opacity", "filter", "mix-blend-mode")
LINE_WIDTH = 1 / 54
"""Width of the lines as a share of the canvas: 2.4 pixels at 128."""
_FAINT = 0.45


@dataclass(frozen=True, kw_only=True)
class _Paint:
    """What a shape inherits from the groups around it."""

    fill: str = "#000"
    stroke: str = "none"
    width: float = 1.0


def line_drawing(icon: Icon) -> Icon:
    """`icon` with every shape filled white and outlined in black, its view box fitted to the outlines.

    Shapes that only tint what lies below (low opacity) are left out, and wide strokes become outlined bands.
    """
    box = fitted(icon).view_box
    width = box[2] * LINE_WIDTH
    root = ElementTree.fromstring(document(icon))
    for child in list(root):
        _outline(child, root, _Paint(), width)
    body = "".join(ElementTree.tostring(child, encoding="unicode") for child in root)
    left, top, across, down = icon.view_box
    padded = (left - width, top - width, across + 2 * width, down + 2 * width)
    return fitted(Icon(body=body, view_box=padded))


def _outline(element, parent, inherited: _Paint, width: float) -> None:
    if element.tag in (f"{_SVG}clipPath", f"{_SVG}mask", f"{_SVG}filter"):
        return
    if _is_faint(element):
        parent.remove(element)
        return
    paint = _Paint(
        fill=element.get("fill", inherited.fill),
        stroke=element.get("stroke", inherited.stroke),
        width=float(element.get("stroke-width", inherited.width)),
    )
    for name in _REMOVED:
        element.attrib.pop(name, None)
    if element.tag in _SHAPES:
        _draw(element, parent, paint, width)
        return
    for name in ("fill", "stroke", "stroke-width"):
        element.attrib.pop(name, None)
    for child in list(element):
        _outline(child, element, paint, width)


def _is_faint(element) -> bool:
    opacity = float(element.get("opacity", 1))
    return opacity < _FAINT or (float(element.get("fill-opacity", 1)) < _FAINT and "stroke" not in element.attrib)


def _draw(element, parent, paint: _Paint, width: float) -> None:
    filled, stroked = paint.fill != "none", paint.stroke != "none"
    if stroked and not filled and paint.width > 2 * width:
        inner = copy.deepcopy(element)
        _set(element, fill="none", stroke="#000", width=paint.width + width)
        _set(inner, fill="none", stroke="#fff", width=paint.width - width)
        parent.insert(list(parent).index(element) + 1, inner)
    elif filled or stroked:
        _set(element, fill="#fff" if filled else "none", stroke="#000", width=width)
        element.set("stroke-linejoin", "round")
    else:
        _set(element, fill="none", stroke="none", width=width)


def _set(element, *, fill: str, stroke: str, width: float) -> None:
    element.set("fill", fill)
    element.set("stroke", stroke)
    element.set("stroke-width", f"{width:.4g}")
