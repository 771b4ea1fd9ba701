"""Plans follow from the figures of two batches."""

import pytest

from img2img_jax.aot.chip import CHIPS
from img2img_jax.aot.figures import Figures
from img2img_jax.aot.planner import Sweep, plan_sweep
from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.testing.tiny import SCHEDULER_CONFIG

V5E = CHIPS["v5e"]


def figures(stage, samples, seconds, peak=0, fits=True):
    known = dict(cycles=round(seconds * V5E.clock), peak=peak or samples) if fits else {}
    return Figures(stage=stage, topology="v5e:1x1", resolution=64, samples=samples, fits=fits, flops=1, **known)


@pytest.fixture
def scheduler():
    return Scheduler.from_config(SCHEDULER_CONFIG, "ddim")


def test_a_sweep_costs_its_evaluations_and_its_pictures(scheduler):
    sweep = Sweep(images=10, strengths=(0.5, 1.0), steps=20)
    parts = [
        figures("step", 1, 2.0),
        figures("step", 4, 4.0),
        figures("step", 8, 9.0),
        figures("step", 16, 0, fits=False),
    ]
    others = [figures("encode", 4, 8.0), figures("decode", 1, 3.0), figures("text_encoder", 2, 1.0)]
    plan = plan_sweep([*parts, *others], sweep, scheduler)
    assert (plan.slots, plan.step_seconds) == (4, 4.0)  # a second a sample; the larger batch is dearer
    assert plan.chip_seconds == 10 * (10 + 20) * 1.0 + 10 * 2.0 + 20 * 3.0 + 10 * 0.5


def test_slots_are_where_the_line_meets_the_memory(scheduler):
    sweep = Sweep(images=1, strengths=(1.0,))
    each = V5E.memory // 20
    two = [figures("step", samples, samples, peak=each * (5 + samples)) for samples in (1, 4)]
    assert plan_sweep(two, sweep, scheduler).most_slots == 15
    assert plan_sweep(two[:1], sweep, scheduler).most_slots is None


def test_without_a_step_that_fits_there_is_no_plan(scheduler):
    with pytest.raises(ValueError, match="no step that fits"):
        plan_sweep([figures("step", 64, 0, fits=False)], Sweep(images=1, strengths=(1.0,)), scheduler)
