"""What an experiment is made of, with defaults; files in configs/ change some of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from img2img_jax.sweep import Settings

GRID = tuple(round(0.05 * place, 2) for place in range(21))
"""Strengths 0, 0.05 ... 1."""


def experiment_config(name: str, **changes: Any) -> ConfigDict:
    """The defaults with changes, of the same structure; every field can be set as ``--config.field=value``.

    An empty text or tuple stands for "not given". The fields:

    - ``name``: of the experiment.
    - ``inputs``: group -> path, as ``inputs.find_inputs`` takes it. The groups are told apart in the results.
    - ``strokes``: group -> path; the pictures there are turned into strokes (``data.strokes``) of ``stroke_filter``
      pixels and ``stroke_colours`` first.
    - ``max_inputs``: of each group, the first so many; 0 for all.
    - ``prompts``: for all inputs, in place of their own.
    - ``strengths``, ``seeds``: the grid. Strength 1 is added where ``reference_lines`` is set, as text-to-image is one.
    - ``settings``: values of each field of ``sweep.Settings``; their product is run.
    - ``network_evaluations``: in place of ``settings.num_inference_steps``: as many steps as make so many evaluations,
      or the nearest number below, whatever the sampler, mode and strength.
    - ``height``, ``width``, ``resize``, ``background``: as in a call; 0 for the picture's own size.
    - ``batch_size``: pictures at a time.
    - ``model``: arguments of ``Img2ImgPipeline.from_pretrained``; no path for the embedded model.
    - ``metrics``: names; all that can be computed, if there are none. ``clip``, ``lpips``, ``dino``: their networks.
    - ``reference_lines``: whether to measure the VAE's round trip and unrelated pictures as well.
    """
    config = ConfigDict(
        dict(
            name=name,
            inputs={},
            strokes={},
            stroke_filter=23,
            stroke_colours=6,
            max_inputs=0,
            prompts=(),
            strengths=GRID,
            seeds=(0, 1, 2, 3),
            settings={field.name: (field.default,) for field in dataclasses.fields(Settings)},
            network_evaluations=(),
            height=0,
            width=0,
            resize="crop",
            background="white",
            batch_size=8,
            model=dict(path="", dtype="float32", revision="", variant="", vae="", tokenizer="", family="", loras=()),
            metrics=(),
            clip="",
            lpips=(),
            dino="",
            reference_lines=True,
        )
    )
    _update(config, changes)
    return config


def _update(config: ConfigDict, changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and len(config[key]):
            _update(config[key], value)
        elif isinstance(value, Mapping):
            config[key] = ConfigDict(value)
        else:
            config[key] = value
