"""Two models of a hand-over run what one would have run."""

import numpy as np
import pytest

from img2img_jax.diffusion.handover import Handover
from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.diffusion.solvers import SCHEDULERS
from img2img_jax.diffusion.solvers.base import BASIS

SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
STEPS = 20


def table(name="ddim", strength=1.0, mode="truncate", **handover):
    scheduler = Scheduler.from_config(SD, name)
    return scheduler.table(strength, STEPS, mode=mode, handover=Handover(**handover))


def run(table, start, steps):
    """A linear model's run of the table's rows from a state, with what each step draws; all in float64."""
    x, saved, memory = table.image_weight[0] * start, 0.0, [0.0, 0.0, 0.0]
    for i in range(table.evaluations[0]):
        output = np.tanh(x) + table.timestep[0, i] / 1000
        m0 = table.convert[0, i] @ [x, output]
        basis = np.array([x, saved, output, m0, *memory, steps[i]])
        assert len(basis) == len(BASIS)
        x, saved, memory = table.x[0, i] @ basis, table.saved[0, i] @ basis, [m0, *memory[:2]]
    return x


@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_step_runs_once(name, fraction):
    first, (before,) = table(name, denoising_end=fraction)
    second, (after,) = table(name, denoising_start=fraction)
    whole, (start,) = table(name)
    assert before.network_evaluations + after.network_evaluations == start.network_evaluations
    cut = 1000 - 1000 * fraction
    ran = [t.timestep[0, : t.evaluations[0]] for t in (first, second)]
    np.testing.assert_allclose(np.concatenate(ran), whole.timestep[0, : whole.evaluations[0]])
    if "heun" not in name:  # the second evaluation of its last step lies below
        assert ran[0].min() >= cut
    assert ran[1].max() < cut and after.timestep < cut
    assert (before.steps + after.steps, before.denoising_end, after.denoising_start) == (STEPS, fraction, fraction)


@pytest.mark.parametrize("name", ["ddim", "ddpm", "euler", "euler_karras", "euler_a", "heun", "heun_karras", "lcm"])
def test_one_step_methods_do_not_notice(name):
    """Multistep methods do: the second model begins without a past."""
    steps = np.random.default_rng(0).standard_normal(2 * STEPS)
    start = 0.7
    whole = table(name)[0]
    whole.image_weight[:] = 1
    first, second = table(name, denoising_end=0.6)[0], table(name, denoising_start=0.6)[0]
    first.image_weight[:] = 1
    done = first.evaluations[0]
    handed_over = run(first, start, steps)
    np.testing.assert_allclose(run(second, handed_over, steps[done:]), run(whole, start, steps), rtol=1e-4)
    assert second.noise_weight[0] == 0


@pytest.mark.parametrize(("name", "scaled"), [("ddim", False), ("dpmpp_2m", False), ("euler", True), ("lms", True)])
def test_latents_in_between_are_in_the_scale_of_the_sampler(name, scaled):
    second, (start,) = table(name, denoising_start=0.6)
    assert second.image_weight[0] == pytest.approx(start.alpha if scaled else 1)


def test_cuts_are_where_diffusers_cuts():
    """Rounded to whole training steps; a step at the cut belongs to the first model."""
    for fraction, cut in ((0.8, 200), (0.5, 500), (0.1234, 877)):
        timesteps = np.arange(STEPS)[::-1] * 50 + 1
        assert table(denoising_end=fraction)[1][0].steps == (timesteps >= cut).sum()
        assert table(denoising_start=fraction)[1][0].steps == (timesteps < cut).sum()
    assert table(denoising_end=0.949)[1][0].steps == 19  # step 51 is at the cut of 51


def test_with_strengths_and_both_ends():
    starts = table(strength=[0.6, 0.9], denoising_end=0.7)[1]
    assert [start.steps for start in starts] == [6, 12]
    (start,) = table(denoising_start=0.2, denoising_end=0.7)[1]
    assert start.steps == 10 and start.timestep < 800
    assert table(denoising_end=1.0)[1][0].steps == STEPS
    assert table(strength=0.9, mode="continuous", denoising_end=0.5)[1][0].steps < STEPS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(denoising_start=0.0), "denoising_start=0.0 is not between 0 and 1; leave it out"),
        (dict(denoising_start=1), "denoising_start=1 is not between 0 and 1"),
        (dict(denoising_start=float("nan")), "denoising_start=nan"),
        (dict(denoising_end=0), r"denoising_end=0 is not in the range \(0, 1\]"),
        (dict(denoising_end=1.1), "denoising_end=1.1"),
        (dict(denoising_start=0.5, denoising_end=0.5), "denoising_start=0.5 must be below denoising_end=0.5"),
        (dict(denoising_start=0.9999), "denoising_start=0.9999 leaves none of the 20 steps"),
        (dict(denoising_end=0.01), r"denoising_end=0.01 stops at training step 990, .*\(951\)"),
        (dict(denoising_end=0.5, strength=[0.9, 0.3]), "denoising_end=0.5 stops at training step 500"),
        (dict(denoising_end=0.5, strength=[0.9, 0]), "strength 0 at index 1 has no noise left"),
        (dict(denoising_start=0.5, mode="exact"), "strength_mode='exact' says nothing beside denoising_start=0.5"),
    ],
)
def test_what_leaves_nothing_to_run_is_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        table(**arguments)
