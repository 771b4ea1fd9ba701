"""Colour words: a palette, the dominant colour of a picture, and the OKLab space that both are measured in.

OKLab is Björn Ottosson's perceptual space (2020, https://bottosson.github.io/posts/oklab/): lightness 0 to 1,
chroma 0 to about 0.32 for sRGB, hue in degrees.
"""

from dataclasses import dataclass

import numpy as np

PALETTE = {
    "red": (218, 38, 38),
    "orange": (247, 134, 28),
    "yellow": (251, 208, 48),
    "green": (66, 170, 70),
    "blue": (45, 120, 222),
    "purple": (138, 78, 192),
    "pink": (246, 132, 182),
    "brown": (134, 84, 52),
    "black": (44, 44, 46),
    "white": (246, 246, 246),
    "grey": (150, 152, 154),
}
"""Colour word -> reference sRGB, 0 to 255: what a picture recoloured to the word looks like on average."""
HUES = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
"""The words of the palette that name a hue; the others are black, white and grey."""

CHROMATIC = 0.05
"""Pixels of at least this OKLab chroma count as coloured; the others as black, grey or white."""
_WHITE, _BLACK = 0.88, 0.36
_PINK_LIGHTNESS = 0.68
_BROWN_LIGHTNESS, _BROWN_CHROMA = 0.66, 0.135
_ENOUGH, _LEADING, _ASTRIDE = 0.4, 0.35, 0.5
# First hue angle of each word in degrees, up to the next word's.
_HUE_STARTS = (
    (0.0, "pink"),
    (12.0, "red"),
    (38.0, "orange"),
    (72.0, "yellow"),
    (117.0, "green"),
    (190.0, "blue"),
    (285.0, "purple"),
    (324.0, "pink"),
)
_WORDS = tuple(PALETTE)
_LINEAR_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    np.float32,
)
_LMS_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    np.float32,
)
_LAB_TO_LMS = np.linalg.inv(_LMS_TO_LAB)
_LMS_TO_LINEAR = np.linalg.inv(_LINEAR_TO_LMS)
_CODES = np.arange(256, dtype=np.float32) / 255
_SRGB_TO_LINEAR = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4)


def to_oklab(rgb: np.ndarray) -> np.ndarray:
    """uint8 sRGB [..., 3] to float32 OKLab [..., 3] (lightness, a, b)."""
    linear = _SRGB_TO_LINEAR[rgb].astype(np.float32)
    return np.cbrt(linear @ _LINEAR_TO_LMS.T) @ _LMS_TO_LAB.T


def from_oklab(lab: np.ndarray) -> np.ndarray:
    """float OKLab [..., 3] to uint8 sRGB [..., 3]; colours outside sRGB are clipped."""
    linear = np.clip((lab @ _LAB_TO_LMS.T) ** 3 @ _LMS_TO_LINEAR.T, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * encoded).astype(np.uint8)


def chroma(lab: np.ndarray) -> np.ndarray:
    """Chroma [...] of OKLab [..., 3]."""
    return np.hypot(lab[..., 1], lab[..., 2])


def hue(lab: np.ndarray) -> np.ndarray:
    """Hue [...] in degrees, 0 to 360, of OKLab [..., 3]."""
    return np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360


def hue_distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angle between hues in degrees, 0 to 180."""
    return np.abs((np.asarray(first) - second + 180) % 360 - 180)


def reference(word: str) -> np.ndarray:
    """float32 OKLab [3] of a colour word.

    Raises:
        ValueError: the word is not in the palette.
    """
    if word not in PALETTE:
        raise ValueError(f"colour {word!r} is not in the palette; choose one of {', '.join(PALETTE)}")
    return to_oklab(np.array(PALETTE[word], np.uint8))


def classify(rgb: np.ndarray) -> np.ndarray:
    """Index into `PALETTE`, int [...], of the word for each pixel of uint8 [..., 3]."""
    lab = to_oklab(rgb)
    lightness, saturation, angle = lab[..., 0], chroma(lab), hue(lab)
    starts = np.array([start for start, _ in _HUE_STARTS])
    words = np.array([_WORDS.index(word) for _, word in _HUE_STARTS])
    found = words[np.searchsorted(starts, angle, side="right") - 1]
    red_or_pink = (found == _WORDS.index("red")) & (angle < 30) & (lightness > _PINK_LIGHTNESS)
    found = np.where(red_or_pink & (saturation < 0.17), _WORDS.index("pink"), found)
    dark = (lightness < _BROWN_LIGHTNESS) & (saturation < _BROWN_CHROMA) & (angle >= 25) & (angle < 100)
    dull = (angle >= 42) & (angle < 92) & (saturation < 0.095) & (lightness < 0.85)
    # Chocolate and fur in gradients lean towards purple.
    mauve = ((angle < 42) | (angle >= 345)) & (saturation < 0.095) & (lightness < 0.62)
    found = np.where(dark | dull | mauve, _WORDS.index("brown"), found)
    crimson = (angle < 12) & (saturation > 0.15) & (lightness < 0.655)
    found = np.where(crimson, _WORDS.index("red"), found)
    # Some styles draw black as a dark violet, and light grey as a pale one.
    violet = (angle >= 260) & (angle < 340)
    inky = violet & (lightness < 0.44) & (saturation < 0.1)
    pale = violet & (lightness > 0.7) & (saturation < 0.075)
    neutral = np.where(
        lightness > _WHITE,
        _WORDS.index("white"),
        np.where((lightness < _BLACK) | inky, _WORDS.index("black"), _WORDS.index("grey")),
    )
    return np.where((saturation < CHROMATIC) | (lightness < 0.22) | inky | pale, neutral, found)


@dataclass(frozen=True, kw_only=True)
class Dominant:
    """The colour that a picture is named after.

    word: a word of `PALETTE`, or None if no word covers enough; share: part of the drawing that has this colour;
    coloured: part of the drawing that has any hue; hue: most frequent hue in degrees, or None if nothing is
    coloured; concentration: part of the coloured area within 30 degrees of that hue; all parts 0 to 1.
    """

    word: str | None
    share: float
    coloured: float
    hue: float | None
    concentration: float


def dominant(rgb: np.ndarray, mask: np.ndarray) -> Dominant:
    """The dominant colour of the pixels of uint8 [H, W, 3] under the boolean mask [H, W].

    A word is earned by 40 % of the drawing, a hue by 35 % that are twice as much as any other; black, white and grey
    count half, since wheels and windows are not what a tram is named after. A gradient that lies astride two words,
    such as an orange and yellow face, is named after its median colour if it takes half of the drawing.
    """
    pixels = rgb[mask]
    if not len(pixels):
        return Dominant(word=None, share=0.0, coloured=0.0, hue=None, concentration=0.0)
    lab = to_oklab(pixels)
    coloured = chroma(lab) >= CHROMATIC
    angle, concentration = _main_hue(hue(lab[coloured]))
    word, share = _clear_word(pixels)
    near_share = float(coloured.mean()) * concentration
    if word is None and near_share >= _ASTRIDE:
        near = coloured & (hue_distance(hue(lab), angle) <= 30)
        middle = np.rint(np.median(pixels[near], axis=0)).astype(np.uint8)
        word, share = _WORDS[int(classify(middle))], near_share
    return Dominant(
        word=word,
        share=round(share, 4),
        coloured=round(float(coloured.mean()), 4),
        hue=angle,
        concentration=concentration,
    )


def _clear_word(pixels: np.ndarray) -> tuple[str | None, float]:
    """The word that covers clearly most of uint8 [N, 3] (None if no word does) and the share of the best."""
    shares = np.bincount(classify(pixels), minlength=len(_WORDS)) / len(pixels)
    weights = shares * np.array([1.0 if word in HUES else 0.5 for word in _WORDS])
    second, best = np.argsort(weights, kind="stable")[-2:]
    leads = _WORDS[best] in HUES and shares[best] >= _LEADING and weights[best] >= 2 * weights[second]
    clear = shares[best] >= _ENOUGH or leads
    return (_WORDS[best] if clear else None), float(shares[best])


def _main_hue(angles: np.ndarray) -> tuple[float | None, float]:
    """The most frequent hue (degrees) and the part of `angles` within 30 degrees of it."""
    if not len(angles):
        return None, 0.0
    histogram = np.bincount((angles // 10).astype(int) % 36, minlength=36).astype(float)
    window = sum(np.roll(histogram, shift) for shift in (-1, 0, 1))
    centre = 10.0 * int(window.argmax()) + 5.0
    near = angles[hue_distance(angles, centre) <= 30]
    radians = np.radians(near)
    mean = float(np.degrees(np.arctan2(np.sin(radians).mean(), np.cos(radians).mean())) % 360)
    return round(mean, 1), round(float((hue_distance(angles, mean) <= 30).mean()), 4)
