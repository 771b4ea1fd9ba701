"""Large batches: how many samples a chip holds at once, and what a sweep of pictures and strengths costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from img2img_jax.aot.figures import Figures
from img2img_jax.checkpoints.checkpoint import TEXT_ENCODERS
from img2img_jax.diffusion.scheduler import Scheduler


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """Every one of ``images`` pictures at every one of ``strengths``, by a scheduler's grid of ``steps`` steps."""

    images: int
    strengths: tuple[float, ...]
    steps: int = 50

    @property
    def samples(self) -> int:
        """Pictures that come out."""
        return self.images * len(self.strengths)

    def evaluations(self, scheduler: Scheduler) -> int:
        """Of the UNet, guidance included in each."""
        _, starts = scheduler.table(list(self.strengths), self.steps)
        return self.images * sum(start.network_evaluations for start in starts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep takes, by the compiler's estimate: good for comparing plans, no promise of a speed.

    Attributes:
      slots: samples that a chip denoises at once.
      most_slots: that fit its memory, on the straight line through the batches compiled; to be confirmed by compiling
        them.
      step_seconds: of one step of all slots.
      chip_seconds: of the whole sweep: texts, encode, steps and decode of all samples, no slot idle.
    """

    slots: int
    most_slots: int | None
    step_seconds: float
    chip_seconds: float

    def describe(self, sweep: Sweep, chips: int) -> str:
        """A sentence for each figure."""
        most = "unknown: compile two batches" if self.most_slots is None else f"about {self.most_slots}"
        each = self.chip_seconds / chips
        return (
            f"Sweep of {sweep.images} images x {len(sweep.strengths)} strengths, {sweep.steps} steps, by the "
            f"compiler's estimate: {self.chip_seconds:.3g} chip-seconds, {each:.3g} s on {chips} chips, at "
            f"{self.slots} slots a chip and {1e3 * self.step_seconds:.3g} ms a step. Slots that fit a chip: {most}."
        )


def plan_sweep(figures: Sequence[Figures], sweep: Sweep, scheduler: Scheduler) -> Plan:
    """The cheapest of the batches compiled, and the largest that would fit.

    Args:
      figures: of one model and slice: its step at one batch or more, and the other stages that are to be paid for.

    Raises:
      ValueError: no step among them that fits.
    """
    steps = [f for f in figures if f.stage == "step" and f.fits]
    if not steps:
        raise ValueError("no step that fits is among the figures; compile the stage 'step', or fewer samples at once")
    best = min(steps, key=_each)
    seconds = sweep.evaluations(scheduler) * _each(best)
    counts = {"encode": sweep.images, "decode": sweep.samples, **dict.fromkeys(TEXT_ENCODERS, sweep.images)}
    for stage, count in counts.items():
        seconds += count * min((_each(f) for f in figures if f.stage == stage and f.fits), default=0)
    return Plan(slots=best.samples, most_slots=_most_slots(steps), step_seconds=best.seconds, chip_seconds=seconds)


def _each(figures: Figures) -> float:
    """Seconds for a sample."""
    return figures.seconds / figures.samples


def _most_slots(steps: Sequence[Figures]) -> int | None:
    """Where the line through the smallest and the largest batch meets the chip's memory; None with one batch alone."""
    low, high = (pick(steps, key=lambda f: f.samples) for pick in (min, max))
    if low.samples == high.samples:
        return None
    each = (high.peak - low.peak) / (high.samples - low.samples)
    return int(low.samples + (low.chip.memory - low.peak) / each)
