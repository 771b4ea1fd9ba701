"""What a run is to make: an ordered list of trials, and the batches they are made in."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from img2img_jax import images, sweep
from img2img_jax.diffusion.strength import per_sample
from img2img_jax.file_digest import file_sha256
from img2img_jax.inputs import Input, read_mask

ID_DIGITS = 16
DEFAULTS = (sweep.Settings(),)
ABOUT = ("source_prompt", "group")
"""What is said of an input that does not touch its pictures, but their metrics."""


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

    def read_mask(self, mask: Any, shape: tuple[int, ...]) -> np.ndarray:
        """bool [H, W] of the mask of a picture that was brought to ``shape`` [H, W, 3]; raises ImageError."""
        policy = dataclasses.asdict(self) | {"height": shape[0], "width": shape[1]}
        return read_mask(mask, **policy)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """One picture to make.

    Attributes:
      index: place in the plan.
      input: what the sample is made from.
      mask_sha256: of the input's mask, if it has one.
      sample: with pixels of the right shape but no content; the run reads them when their batch has come.
    """

    index: int
    input: Input
    sample: sweep.Sample
    sizing: Sizing
    mask_sha256: str | None = None

    @property
    def settings(self) -> sweep.Settings:
        return self.sample.settings

    def mask(self) -> np.ndarray:
        """bool [H, W]; raises ImageError."""
        return self.sizing.read_mask(self.input.mask, self.sample.pixels.shape)

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
            **{name: value for name in ABOUT if (value := getattr(self.input, name)) is not None},
            **({"mask_sha256": self.mask_sha256} if self.mask_sha256 else {}),
        }

    @property
    def id(self) -> str:
        """Hash of the knobs: the same in every plan that holds this trial."""
        return digest(self.knobs())[:ID_DIGITS]


def read_pixels(trial: Trial) -> np.ndarray:
    """uint8 [H, W, 3], the trial's input at its final size; raises ImageError if it is not what was planned."""
    path = trial.sample.image
    pixels = trial.sizing.prepare(path)
    if file_sha256(path) != trial.sample.image_sha256:
        raise images.ImageError(f"{path}: changed since the run was planned (sha256); restore it, or plan anew")
    return pixels


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
    settings: Sequence[sweep.Settings] | Callable[[float], Sequence[sweep.Settings]] = DEFAULTS,
    sizing: Sizing = Sizing(),
    batch_size: int = 8,
) -> Plan:
    """The product of inputs, prompts, settings, strengths and seeds; the last varies fastest.

    Every input is opened once here, for its size and its hash, and closed again.

    Args:
      inputs: from `inputs.find_inputs`. One that cannot be opened, or has no prompt, becomes a `Failure`.
      prompts: for every input, instead of its own.
      settings: samplers, steps, guidance scales and modes; `variations` makes their product. Or a function that gives
        them for a strength. The negative prompt of an input comes before theirs.
      batch_size: most samples at a time. A batch holds one picture size, and settings that differ in what the pipeline
        takes per sample alone; strengths are mixed.

    Raises:
      ValueError: nothing to do, a knob with two equal values, or a strength that is not in [0, 1].
    """
    knobs = dict(inputs=inputs, strengths=strengths, seeds=seeds)
    if callable(settings):
        knobs |= {f"settings of strength {strength}": settings(strength) for strength in strengths}
    else:
        knobs |= {"settings": settings}
    for name, values in knobs.items():
        if not len(values) or (name != "inputs" and len(set(values)) < len(values)):
            raise ValueError(f"{name} {list(values)} must be one or more values, each once")
    per_sample(strengths)  # now, not when their batch has come
    cells = _cells(settings, strengths)
    trials, failures, index = [], [], 0
    for item in inputs:
        texts = prompts if prompts is not None else [item.prompt]
        try:
            if None in texts:
                raise images.ImageError(f"{item.path}: no prompt; give one in metadata.jsonl, or prompts for all")
            # A view on one byte: the plan of a large folder must not hold its pictures.
            pixels = np.broadcast_to(np.uint8(0), sizing.prepare(item.path).shape)
            sha256 = file_sha256(item.path)
            mask_sha256 = None if item.mask is None else _bytes_sha256(sizing.read_mask(item.mask, pixels.shape))
        except (images.ImageError, OSError) as error:
            failures.append(Failure(index=index, image=item.path.name, error=str(error)))
            index += 1
            continue
        for prompt, (each, strength), seed in itertools.product(texts, cells, seeds):
            if item.negative_prompt is not None:
                each = dataclasses.replace(each, negative_prompt=item.negative_prompt)
            sample = sweep.Sample(
                image=item.path,
                image_sha256=sha256,
                pixels=pixels,
                prompt=prompt,
                strength=strength,
                seed=seed,
                settings=each,
            )
            trials.append(Trial(index=index, input=item, sample=sample, sizing=sizing, mask_sha256=mask_sha256))
            index += 1
    return Plan(trials=trials, failures=failures, batches=_batches(trials, batch_size))


def variations(base: sweep.Settings | None = None, **knobs: Sequence[Any]) -> list[sweep.Settings]:
    """`base` with every combination of values of its fields, such as ``scheduler=["ddim", "euler"]``."""
    return [
        dataclasses.replace(base or sweep.Settings(), **dict(zip(knobs, values, strict=True)))
        for values in itertools.product(*knobs.values())
    ]


def _bytes_sha256(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def _cells(settings: Any, strengths: Sequence[float]) -> list[tuple[sweep.Settings, float]]:
    if callable(settings):
        return [(each, strength) for strength in strengths for each in settings(strength)]
    return list(itertools.product(settings, strengths))


def _batches(trials: Sequence[Trial], batch_size: int) -> list[PlannedBatch]:
    groups: dict[Any, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(_alike(trial), []).append(trial)
    batches = []
    for group in groups.values():
        by_sample = {id(trial.sample): trial for trial in group}
        for batch in sweep.make_batches([trial.sample for trial in group], batch_size):
            members = [by_sample[id(sample)] for sample in batch.samples]
            batches.append(PlannedBatch(trials=members, size=batch.size))
    return batches


def _alike(trial: Trial) -> Any:
    """Trials that may share a batch have this in common.

    Guidance switched off runs half the network, a negative prompt that is not given is not an empty one, and metrics
    are computed of a whole batch.
    """
    settings, about = trial.settings, trial.input
    return (
        dataclasses.replace(settings, guidance_scale=float(settings.guidance_scale > 1), negative_prompt=None),
        *(value is None for value in (settings.negative_prompt, about.source_prompt, about.mask)),
    )
