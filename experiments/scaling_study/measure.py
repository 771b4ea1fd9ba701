"""One row for each kind of scaling and number of devices."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from img2img_jax import Img2ImgPipeline, make_mesh
from img2img_jax.checkpoints import write_json
from img2img_jax.parallel import padded_size
from img2img_jax.testing.tiny import random_images, tiny_pipeline


def measure_missing(config: ConfigDict, workdir: Path, *, started: float) -> None:
    """Writes ``rows/KIND_DEVICES.json`` for those that are not there.

    Args:
      started: ``time.perf_counter()`` when the process began.

    Raises:
      ValueError: the devices would have unequal work in weak scaling.
    """
    if config.slots % len(config.strengths):
        raise ValueError(
            f"slots={config.slots} is no multiple of the {len(config.strengths)} strengths, so that the samples of one "
            "device would not take as long as those of another; choose another number"
        )
    counts = config.devices or _powers_of_two(jax.device_count())
    cells = [(kind, count) for kind in ("weak", "strong") for count in counts]
    missing = [(kind, count) for kind, count in cells if not _file(workdir, kind, count).is_file()]
    if not missing:
        return
    load = _loader(config)
    load(mesh=make_mesh(devices=jax.devices()[:1]))
    # What a process that was restarted has to do before its first compilation.
    load_seconds = time.process_time() if config.virtual_devices else time.perf_counter() - started
    measure = functools.cache(functools.partial(_measure, config, load))
    for kind, count in missing:
        row = measure(count, config.slots * count if kind == "weak" else config.samples)
        write_json(_file(workdir, kind, count), {"kind": kind} | row | {"load_seconds": round(load_seconds, 3)})
        logging.info("%s scaling, %d devices: %.3g s a call", kind, count, np.median(row["seconds"]))


def _measure(config: ConfigDict, load: Callable[..., Img2ImgPipeline], count: int, size: int) -> dict[str, Any]:
    mesh = make_mesh(devices=jax.devices()[:count])
    pipe, timed = load(mesh=mesh), _Stopwatch(config)
    call, starts = _call(pipe, config, size)
    first = timed(call)
    seconds = [timed(call) for _ in range(config.repeats)]
    evaluations = [start.network_evaluations for start in starts()]
    filled = evaluations + evaluations[-1:] * (padded_size(size, mesh) - size)
    return {
        "devices": count,
        "device_kind": jax.devices()[0].device_kind,
        "virtual": bool(config.virtual_devices),
        "clock": timed.name,
        "samples": size,
        "steps": config.steps,
        "slot_steps": len(filled) * max(filled),
        "useful_slot_steps": sum(evaluations),
        "first_call_seconds": round(first, 4),
        "seconds": [round(value, 4) for value in seconds],
        "loop_seconds": [round(value, 4) for value in _loop_seconds(pipe, config, size, timed)],
        # No network runs for strength 0: what is left is the host's.
        "host_seconds": [round(timed(lambda: call(strength=0)), 4) for _ in range(config.repeats)],
    }


def _call(pipe: Img2ImgPipeline, config: ConfigDict, size: int):
    """The call that is timed, with what is to be another in it, and a function to where its samples started."""
    outputs = []
    options = dict(
        _options(config, size), image=np.asarray(random_images(size, pipe.native_size)), prompt="a red apple"
    )

    def call(**changes: Any) -> None:
        outputs[:] = [pipe(**options | changes)]

    return call, lambda: outputs[0].strength


def _loop_seconds(pipe: Img2ImgPipeline, config: ConfigDict, size: int, timed: _Stopwatch) -> list[float]:
    """Of the denoising loop alone, from latents to latents. The rest of a call is the host's and the VAE's."""
    image = pipe.encode(np.asarray(random_images(size, pipe.native_size)))
    told = pipe.encode_prompt(["a red apple"] * size)

    def loop() -> None:
        pipe(prompt=None, image=image, **told, **_options(config, size), output_type="latent")

    loop()
    return [timed(loop) for _ in range(config.repeats)]


def _options(config: ConfigDict, size: int) -> dict[str, Any]:
    strengths = [config.strengths[n % len(config.strengths)] for n in range(size)]
    return dict(strength=strengths, seed=list(range(size)), num_inference_steps=config.steps)


def _loader(config: ConfigDict) -> Callable[..., Img2ImgPipeline]:
    if config.model != "random":
        given = [config.model] if config.model else []
        return lambda mesh: Img2ImgPipeline.from_pretrained(*given, dtype=config.dtype, mesh=mesh)
    return tiny_pipeline


class _Stopwatch:
    """Seconds that work takes; of virtual devices those of the processor, which other processes cannot lengthen."""

    def __init__(self, config: ConfigDict):
        self.name, self._now = ("CPU", time.process_time) if config.virtual_devices else ("wall", time.perf_counter)

    def __call__(self, work: Callable[[], None]) -> float:
        started = self._now()
        work()
        return self._now() - started


def _powers_of_two(most: int) -> list[int]:
    return [2**n for n in range(most.bit_length()) if 2**n <= most]


def _file(workdir: Path, kind: str, count: int) -> Path:
    return workdir / "rows" / f"{kind}_{count}.json"
