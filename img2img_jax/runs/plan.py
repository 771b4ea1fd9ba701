"""What a run is to make: an ordered list of trials, and the batches they are made in."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from img2img_jax import images, metadata, sweep
from img2img_jax.inputs import Input

ID_DIGITS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizing:
    """How inputs are brought to size; see `images.prepare`."""

    height: int | None = None
    width: int | None = None
    resize: str = "crop"
    background: str = "white"
    multiple: int = 8

    def prepare(self, path: Any) -> np.ndarray:
        """uint8 [H, W, 3]; raises ImageError."""
        return images.prepare(path, **dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """One picture to make.

    Attributes:
      index: place in the plan.
      sample: with pixels of the right shape but no content; the run reads them when their batch has come.
    """

    index: int
    sample: sweep.Sample
    settings: sweep.Settings
    sizing: Sizing

    def knobs(self) -> dict[str, Any]:
        """Everything that decides on the picture, model and software apart."""
        sample = self.sample
        height, width, _ = sample.pixels.shape
        return {
            "image": sample.image.name,
            "image_sha256": sample.image_sha256,
            **dataclasses.asdict(self.sizing),
            "height": height,
            "width": width,
            "prompt": sample.prompt,
            "strength": sample.strength,
            "seed": sample.seed,
            **dataclasses.asdict(self.settings),
        }

    @property
    def id(self) -> str:
        """Hash of the knobs: the same in every plan that holds this trial."""
        return digest(self.knobs())[:ID_DIGITS]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure:
    """An input that cannot be used; it has a place in the plan as a trial has."""

    index: int
    image: str
    error: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PlannedBatch:
    """Trials that are made together, in this order, filled up to `size`: the bits of a picture may depend on both."""

    trials: Sequence[Trial]
    size: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Trials and failures in order, and the batches. All of it follows from the arguments of `make_plan` alone, so that
    a run that was killed is the same run when it is started again.
    """

    trials: Sequence[Trial]
    failures: Sequence[Failure]
    batches: Sequence[PlannedBatch]

    @property
    def sha256(self) -> str:
        """Hash of every trial's place, knobs and batch, and of the failures."""
        batches = [[batch.size, [[t.index, t.id] for t in batch.trials]] for batch in self.batches]
        return digest({"batches": batches, "failures": [dataclasses.asdict(f) for f in self.failures]})


def digest(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def make_plan(
    inputs: Sequence[Input],
    *,
    prompts: Sequence[str] | None = None,
    strengths: Sequence[float],
    seeds: Sequence[int] = (0,),
    settings: Sequence[sweep.Settings] = (sweep.Settings(),),
    sizing: Sizing = Sizing(),
    batch_size: int = 8,
) -> Plan:
    """The product of inputs, prompts, settings, strengths and seeds; the last varies fastest.

    Every input is opened once here, for its size and its hash, and closed again.

    Args:
      inputs: from `inputs.find_inputs`. One that cannot be opened, or has no prompt, becomes a `Failure`.
      prompts: for every input, instead of its own.
      settings: samplers, steps, guidance scales and modes; `variations` makes their product.
      batch_size: most samples at a time. A batch holds one picture size and one of `settings`, but all strengths.

    Raises:
      ValueError: nothing to do, or a knob with two equal values.
    """
    for name, values in dict(inputs=inputs, strengths=strengths, seeds=seeds, settings=settings).items():
        if not len(values) or (name != "inputs" and len(set(values)) < len(values)):
            raise ValueError(f"{name} {list(values)} must be one or more values, each once")
    trials, failures, index = [], [], 0
    for item in inputs:
        texts = prompts if prompts is not None else [item.prompt]
        try:
            if None in texts:
                raise images.ImageError(f"{item.path}: no prompt; give one in metadata.jsonl, or prompts for all")
            # A view on one byte: the plan of a large folder must not hold its pictures.
            pixels = np.broadcast_to(np.uint8(0), sizing.prepare(item.path).shape)
            sha256 = metadata.file_sha256(item.path)
        except (images.ImageError, OSError) as error:
            failures.append(Failure(index=index, image=item.path.name, error=str(error)))
            index += 1
            continue
        for prompt, each, strength, seed in itertools.product(texts, settings, strengths, seeds):
            sample = sweep.Sample(
                image=item.path, image_sha256=sha256, pixels=pixels, prompt=prompt, strength=strength, seed=seed
            )
            trials.append(Trial(index=index, sample=sample, settings=each, sizing=sizing))
            index += 1
    return Plan(trials=trials, failures=failures, batches=_batches(trials, settings, batch_size))


def variations(base: sweep.Settings | None = None, **knobs: Sequence[Any]) -> list[sweep.Settings]:
    """`base` with every combination of values of its fields, such as ``scheduler=["ddim", "euler"]``."""
    return [
        dataclasses.replace(base or sweep.Settings(), **dict(zip(knobs, values, strict=True)))
        for values in itertools.product(*knobs.values())
    ]


def _batches(trials: Sequence[Trial], settings: Sequence[sweep.Settings], batch_size: int) -> list[PlannedBatch]:
    batches = []
    for each in settings:
        by_sample = {id(trial.sample): trial for trial in trials if trial.settings == each}
        for batch in sweep.make_batches([trial.sample for trial in by_sample.values()], batch_size):
            members = [by_sample[id(sample)] for sample in batch.samples]
            batches.append(PlannedBatch(trials=members, size=batch.size))
    return batches
