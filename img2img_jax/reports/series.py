"""The pictures of a run in rows: one input, prompt, seed and settings at all its strengths."""

from __future__ import annotations

import collections
import dataclasses
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from img2img_jax.reports.curves import settings_label, varying_settings
from img2img_jax.reports.pictures import data_uri, input_picture, output_picture
from img2img_jax.reports.run_files import Row

PAGE_BYTES = 20_000_000
"""Of embedded pictures: what a phone opens without complaint."""
MAX_SIDE = 384
"""Pixels of an embedded picture's longer side; larger ones are shrunk to it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """Rows that differ in nothing but strength, in its order."""

    image: str
    prompt: str
    seed: Any
    settings: str
    rows: Sequence[Row]


def make_series(rows: Sequence[Row]) -> list[Series]:
    """All series of a run, in the order of the plan."""
    varying, groups = varying_settings(rows), collections.defaultdict(list)
    for row in rows:
        identity = (row.get("image"), row.get("image_sha256"), row.get("prompt"), row.get("seed"))
        groups[*identity, settings_label(row, varying)].append(row)
    return [
        Series(
            image=str(image),
            prompt=str(prompt or ""),
            seed=seed,
            settings=settings,
            rows=sorted(members, key=operator.itemgetter("strength")),
        )
        for (image, _, prompt, seed, settings), members in groups.items()
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pictures:
    """Data URIs of a series; None for pictures that are gone."""

    source: str | None
    outputs: Sequence[str | None]


def embed(
    folder: Path, series: Sequence[Series], *, page_bytes: int, max_side: int
) -> list[tuple[Series, Pictures | None]]:
    """Embeds whole series while there is room: first one of every input, then a second, and so on.

    Returns:
      Every series in the given order, with None for those that were left out because of ``page_bytes``.
    """
    sources: dict[Any, str | None] = {}
    chosen: dict[int, Pictures] = {}
    page: set[str] = set()
    for place in _by_turns([one.image for one in series]):
        one = series[place]
        pictures = _embedded(folder, one, sources, max_side)
        page.update(uri for uri in (pictures.source, *pictures.outputs) if uri is not None)
        if sum(map(len, page)) > page_bytes and chosen:
            break
        chosen[place] = pictures
    return [(one, chosen.get(place)) for place, one in enumerate(series)]


def _embedded(folder: Path, one: Series, sources: dict[Any, str | None], max_side: int) -> Pictures:
    """Pictures of a series; ``sources`` keeps those of inputs, which many series share."""
    row = one.rows[0]
    key = tuple(row.get(name) for name in ("image", "image_sha256", "height", "width"))
    if sources.get(key) is None:
        sources[key] = _uri(input_picture(folder, one.rows), max_side)
    outputs = [_uri(output_picture(folder, row), max_side) for row in one.rows]
    return Pictures(source=sources[key], outputs=outputs)


def _uri(picture: Image.Image | None, max_side: int) -> str | None:
    return None if picture is None else data_uri(picture, max_side)


def _by_turns(images: Sequence[str]) -> list[int]:
    """Places, so that every image has its first turn before any has its second."""
    seen: collections.Counter[str] = collections.Counter()
    turns = []
    for place, image in enumerate(images):
        turns.append((seen[image], place))
        seen[image] += 1
    return [place for _, place in sorted(turns)]
