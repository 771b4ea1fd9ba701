"""What an experiment is made of, with defaults; files in configs/ change some of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from img2img_jax.sweep import Settings

PICTURES = "experiments/inputs/pictures"
STABLE_DIFFUSION = "stable-diffusion-v1-5/stable-diffusion-v1-5"
CLIP = "openai/clip-vit-large-patch14"


def grid(step: float, first: float = 0.0, last: float = 1.0) -> tuple[float, ...]:
    """Strengths from ``first`` to ``last``."""
    return tuple(round(first + step * place, 4) for place in range(round((last - first) / step) + 1))


_EMBEDDED = dict(
    inputs={"pictures": PICTURES},
    height=64,
    width=64,
    batch_size=16,
    seeds=(0, 1),
    strengths=grid(0.1),
    settings=dict(scheduler=("ddim",), num_inference_steps=(10,), guidance_scale=(4.0,), strength_mode=("continuous",)),
)
SIZES: Mapping[str, Mapping[str, Any]] = {
    "": dict(
        height=512,
        width=512,
        batch_size=32,
        seeds=(0, 1, 2, 3),
        strengths=grid(0.05),
        settings=dict(scheduler=("ddim",), strength_mode=("continuous",)),
        model=dict(path=STABLE_DIFFUSION, dtype="bfloat16"),
        clip=CLIP,
    ),
    "embedded": _EMBEDDED,
    "tiny": _EMBEDDED | dict(max_inputs=4, strengths=grid(0.2)),
}
"""What the argument of every configuration chooses: a whole study of Stable Diffusion on a TPU, with --data; the twelve
pictures and the embedded model, minutes on a laptop; or the same in two minutes."""
TINY_STEPS = 8


def experiment_config(name: str, size: str = "", *changes: Mapping[str, Any]) -> ConfigDict:
    """The defaults, those of a size, then changes; all of the same structure.

    Every field can be set as ``--config.field=value``. An empty text or tuple stands for "not given". The fields:

    - ``name``: of the experiment; ``size``: as given here, for the record.
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
    - ``slots_per_device``: pictures under way on each device, refilled as they are done (``engine.Engine``);
      ``batch_size`` is then only how many are measured and written together. 0 for whole batches.
    - ``mesh``: ``fsdp`` and ``tensor``, as ``make_mesh`` takes them for the devices of each host; batches are split
      over the rest.
    - ``model``: arguments of ``Img2ImgPipeline.from_pretrained``; no path for the embedded model. ``loras`` may also be
      texts ``path:weight``, as the command takes them.
    - ``metrics``: names; all that can be computed, if there are none. ``clip``, ``lpips``, ``dino``: their networks.
    - ``reference_lines``: whether to measure the VAE's round trip and unrelated pictures as well.

    Raises:
      ValueError: ``size`` is none of ``SIZES``.
    """
    if size not in SIZES:
        names = ", ".join(repr(known) for known in SIZES)
        raise ValueError(f"argument {size!r} is not known to {name}; choose from {names}")
    config = ConfigDict(
        dict(
            name=name,
            size=size,
            inputs={},
            strokes={},
            stroke_filter=23,
            stroke_colours=6,
            max_inputs=0,
            prompts=(),
            strengths=grid(0.1),
            seeds=(0,),
            settings={field.name: (field.default,) for field in dataclasses.fields(Settings)},
            network_evaluations=(),
            height=0,
            width=0,
            resize="crop",
            background="white",
            batch_size=8,
            slots_per_device=0,
            mesh=dict(fsdp=1, tensor=1),
            model=dict(path="", dtype="float32", revision="", variant="", vae="", tokenizer="", family="", loras=()),
            metrics=(),
            clip="",
            lpips=(),
            dino="",
            reference_lines=True,
        )
    )
    config.lock()  # a misspelt field is an error
    tiny = {"settings": {"num_inference_steps": (TINY_STEPS,)}} if size == "tiny" else {}
    for change in (SIZES[size], tiny, *changes):
        _update(config, change)
    return config


def _update(config: ConfigDict, changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if key in ("inputs", "strokes"):
            config[key] = ConfigDict(value)
        elif isinstance(value, Mapping):
            _update(config[key], value)
        else:
            config[key] = value
