"""SVG icons to pictures: fitting the view box to the drawing, rendering, and compositing on white."""

import io

import numpy as np
from PIL import Image

from img2img_jax.data.emoji_sources import Icon

FILL = 0.9
"""Share of the canvas that the longer side of a drawing takes."""
MAX_ENLARGEMENT = 1.2
"""Small drawings are not blown up beyond this, so that a small square stays smaller than a large one."""
_PROBE = 128
# resvg 0.48 panics when rounding makes the inputs of a filter differ by a pixel: a few pictures in ten thousand.
# Another zoom, by less than can be seen, rounds otherwise.
_NUDGES = (0.0, 0.002, 0.004, 0.006, 0.008, 0.011, 0.014, 0.017, 0.02)


def document(icon: Icon) -> str:
    """A complete SVG document of `icon`."""
    box = " ".join(f"{value:g}" for value in icon.view_box)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box}">{icon.body}</svg>'
    )


def rasterise(icon: Icon, size: int, supersampling: int = 1) -> np.ndarray:
    """Renders `icon` to uint8 RGBA [size, size, 4] (straight alpha).

    Args:
        supersampling: renders this many times larger and averages down: smooths coarse gradients and filters.
    """
    side = size * supersampling
    image = Image.open(io.BytesIO(_render(icon, side))).convert("RGBA")
    if image.size != (side, side):
        raise ValueError(f"the view box must be square to render {side}x{side}, but got {icon.view_box}")
    if supersampling > 1:
        # Pillow resizes RGBA with premultiplied alpha, so that transparent pixels do not bleed in.
        image = image.resize((size, size), Image.Resampling.BOX)
    return np.asarray(image)


def _render(icon: Icon, side: int) -> bytes:
    """PNG bytes of `icon`, `side` pixels wide and high."""
    # The renderer is needed for building the data set only, not for reading it.
    import resvg_py

    left, top, width, height = icon.view_box
    for nudge in _NUDGES:
        box = (left - nudge * width, top - nudge * height, width * (1 + 2 * nudge), height * (1 + 2 * nudge))
        svg = document(Icon(body=icon.body, view_box=box))
        try:
            return bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side, skip_system_fonts=True))
        except BaseException as error:
            # A Rust panic arrives as a BaseException of a type that cannot be imported.
            if type(error).__name__ != "PanicException":
                raise
    raise ValueError(f"the renderer fails at every zoom tried on the picture that begins {icon.body[:80]!r}")


def fitted(icon: Icon) -> Icon:
    """`icon` with a square view box in which the drawing is centred and fills `FILL` of the side.

    What lies outside the old view box stays hidden: some icons have stray shapes there.
    """
    left, top, width, height = icon.view_box
    side = max(width, height)
    body = _clipped(icon)
    square = (left + (width - side) / 2, top + (height - side) / 2, side, side)
    loose = Icon(body=body, view_box=square)
    visible = rasterise(loose, _PROBE)[..., 3] > 24
    if not visible.any():
        return loose
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    unit = side / _PROBE
    x0, x1 = columns[0] * unit, (columns[-1] + 1) * unit
    y0, y1 = rows[0] * unit, (rows[-1] + 1) * unit
    longest = max(x1 - x0, y1 - y0)
    fitted_side = max(longest / FILL, max(width, height) / MAX_ENLARGEMENT)
    centre_x, centre_y = loose.view_box[0] + (x0 + x1) / 2, loose.view_box[1] + (y0 + y1) / 2
    box = (centre_x - fitted_side / 2, centre_y - fitted_side / 2, fitted_side, fitted_side)
    return Icon(body=body, view_box=box)


def _clipped(icon: Icon) -> str:
    """The body of `icon` cut off at its view box, whatever view box is used later."""
    left, top, width, height = (f"{value:g}" for value in icon.view_box)
    place = f'x="{left}" y="{top}" width="{width}" height="{height}"'
    return f'<svg {place} viewBox="{left} {top} {width} {height}" overflow="hidden">{icon.body}</svg>'


def on_white(rgba: np.ndarray) -> np.ndarray:
    """uint8 RGBA [H, W, 4] composited on white: uint8 [H, W, 3]."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
