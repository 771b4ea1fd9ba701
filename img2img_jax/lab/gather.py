"""The inputs of an experiment, group by group."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ml_collections import ConfigDict

from img2img_jax.checkpoints.atomic import replacing
from img2img_jax.data.strokes import strokes
from img2img_jax.images import ImageError, load_image
from img2img_jax.inputs import Input, find_inputs


def gather_inputs(config: ConfigDict, workdir: Path) -> list[Input]:
    """All inputs; strokes are painted into ``workdir/inputs``.

    Inputs say their group themselves, or get that of the configuration, if it has more than one.

    Raises:
      ImageError, ValueError: as ``find_inputs``; no inputs at all.
    """
    groups = {**config.inputs, **config.strokes}
    if not groups or not all(groups.values()):
        raise ValueError("the configuration names no inputs; give --data, or set config.inputs")
    inputs = []
    for group, path in groups.items():
        found = find_inputs(path)[: config.max_inputs or None]
        if group in config.strokes:
            found = [_painted(item, workdir / "inputs" / group, config) for item in found]
        if len(groups) > 1:
            found = [dataclasses.replace(item, group=item.group or group) for item in found]
        inputs += found
    return inputs


def _painted(item: Input, folder: Path, config: ConfigDict) -> Input:
    """The input as strokes, the picture itself its reference; one that cannot be read stays what it is, and fails."""
    try:
        picture = load_image(item.path, background=config.background)
    except ImageError:
        return item
    made = strokes(picture, filter_size=config.stroke_filter, colours=config.stroke_colours)
    path = folder / f"{item.path.stem}.png"
    with replacing(path) as file:
        made.save(file, "PNG")
    return dataclasses.replace(item, path=path, reference=item.reference or item.path)
