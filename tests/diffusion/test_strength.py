"""What strength means: counts, ends, errors."""

import dataclasses
import json
import math

import numpy as np
import pytest

from img2img_jax.diffusion import strength as strengths
from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.diffusion.solvers import SCHEDULERS

SD = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
}


def solver(name="ddim", **options):
    return Scheduler.from_config(SD | options, name).solver


def resolve(strength, steps, mode="truncate", noise_at_one="pure", name="ddim", **options):
    return strengths.resolve(strength, steps, solver(name, **options), mode, noise_at_one)


def test_truncate_counts_are_diffusers():
    """Both families, written as their pipelines' get_timesteps are."""
    for n in range(1, 101):
        for s in np.arange(1, 101) / 100:
            s = float(s)
            start = max(n - min(int(n * s), n), 0)
            assert strengths.steps_run(n, s) == n - start
            flow_start = int(max(n - min(n * s, n), 0))
            assert strengths.flow_steps_run(n, s) == n - flow_start
    assert strengths.steps_run(50, 0.58) == 28
    assert strengths.flow_steps_run(28, 0.6) == 17


@pytest.mark.parametrize("name", SCHEDULERS)
def test_evaluations_are_counted_for_what_they_are(name):
    extra = {"pndm": lambda n: n + 1, "heun": lambda n: 2 * n - 1, "heun_karras": lambda n: 2 * n - 1}
    for mode, steps in (("truncate", 12), ("exact", 20), ("continuous", 20)):
        (start,) = resolve(0.6, 20, mode, name=name)
        assert start.steps == steps
        assert start.network_evaluations == extra.get(name, lambda n: n)(steps)


def test_truncate_enters_the_grid_late():
    (start,) = resolve(0.6, 50)
    assert (start.timestep, start.start_index, start.grid_steps, start.steps) == (581, 20, 50, 30)
    alphas_cumprod = solver().schedule.alphas_cumprod[581]
    assert start.alpha**2 == pytest.approx(alphas_cumprod) and start.sigma**2 == pytest.approx(1 - alphas_cumprod)
    assert start.log_snr == pytest.approx(math.log(alphas_cumprod / (1 - alphas_cumprod)))


def test_exact_always_runs_n_steps_of_a_longer_grid():
    for s in (0.051, 0.1, 0.33, 0.58, 0.999, 1.0):
        (start,) = resolve(s, 50, "exact")
        assert (start.steps, start.grid_steps) == (50, int(50 / s))
    assert resolve(0.5, 50, "exact")[0].timestep == 49 * 10 + 1


@pytest.mark.parametrize("name", SCHEDULERS)
def test_continuous_starts_at_exactly_s_t_and_its_snr_strictly_falls(name):
    s = np.concatenate([np.linspace(1e-4, 0.999, 40), [0.9991, 0.9995, 0.9999, 1.0]])
    starts = resolve(s, 5, "continuous", name=name)
    np.testing.assert_allclose([start.timestep for start in starts], s * 1000)
    schedule = solver(name).schedule
    np.testing.assert_allclose([start.alpha for start in starts], schedule.alpha(s * 1000), rtol=1e-9)
    assert np.all(np.diff([start.log_snr for start in starts]) < 0)
    assert {start.steps for start in starts} == {5}


def test_strength_zero_runs_nothing():
    for mode in strengths.MODES:
        (start,) = resolve(0, 50, mode)
        assert (start.alpha, start.sigma, start.log_snr) == (1, 0, math.inf)
        assert (start.steps, start.network_evaluations, start.noise_draws) == (0, 0, 0)


def test_pure_is_said_at_one_and_only_there():
    for mode in strengths.MODES:
        assert [start.pure for start in resolve([0.99, 1.0], 50, mode)] == [False, True]
        assert not resolve(1.0, 50, mode, "leak")[0].pure


def test_noise_draws_are_those_that_matter():
    assert resolve(0.5, 10, name="euler_a")[0].noise_draws == 4
    assert resolve(0.5, 10, name="lcm")[0].noise_draws == 4
    assert resolve(0.5, 10, name="dpmpp_2m")[0].noise_draws == 0


def test_each_sample_is_resolved_for_itself():
    batch = resolve([0.2, 0.5, 0.8, 0.5], 20)
    assert [start.steps for start in batch] == [4, 10, 16, 10]
    assert batch[1] == resolve(0.5, 20)[0]


def test_a_start_can_be_recorded():
    (start,) = resolve(0.3, 20, "continuous", name="dpmpp_2m_karras")
    assert json.loads(json.dumps(dataclasses.asdict(start))) == dataclasses.asdict(start)


@pytest.mark.parametrize("bad", [-0.1, 1.01, float("nan"), float("inf")])
def test_out_of_range_names_value_index_and_range(bad):
    for mode in strengths.MODES:
        with pytest.raises(ValueError, match=rf"strength {bad} at index 1 .*\[0, 1\]"):
            resolve([0.5, bad], 20, mode)


def test_wrong_length_is_named():
    with pytest.raises(ValueError, match="2 values for 3 samples"):
        strengths.per_sample([0.5, 0.6], 3)
    with pytest.raises(ValueError, match="0 values"):
        strengths.per_sample([])
    with pytest.raises(ValueError, match=r"shape \(1, 2\)"):
        strengths.per_sample([[0.5, 0.6]])
    np.testing.assert_array_equal(strengths.per_sample(0.5, 3), [0.5] * 3)


def test_too_small_to_truncate_names_ways_out_that_work():
    with pytest.raises(
        ValueError, match=r"strength 0.01 at index 1 .*num_inference_steps >= 100 .*>= 0.02.*continuous"
    ):
        resolve([0.5, 0.01], 50)
    for n in range(1, 101):
        with pytest.raises(ValueError) as error:
            resolve(0.0099, n)
        remedy = str(error.value).split("num_inference_steps >= ")[1].split(",")[0]
        steps, smallest = remedy.split(" or strength >= ")
        assert strengths.steps_run(int(steps), 0.0099) >= 1 and strengths.steps_run(n, float(smallest)) >= 1


def test_too_small_for_exact_names_a_way_out_that_works():
    with pytest.raises(ValueError, match=r"strength 0.04 at index 0 .*1250 steps.*is 0.049951;.*continuous"):
        resolve(0.04, 50, "exact")
    for name in ("ddim", "lcm", "dpmpp_2m"):
        for n in (1, 3, 17, 49):
            with pytest.raises(ValueError) as error:
                resolve(1e-4, n, "exact", name=name)
            smallest = float(str(error.value).split(" steps is ")[1].split(";")[0])
            assert resolve(smallest, n, "exact", name=name)[0].steps == n
            with pytest.raises(ValueError):
                resolve(smallest - 2e-6, n, "exact", name=name)


def test_other_options_are_checked():
    with pytest.raises(ValueError, match="'late' is not known; choose one of truncate, exact, continuous"):
        resolve(0.5, 20, "late")
    with pytest.raises(ValueError, match="'some' is not known; choose one of pure, leak"):
        resolve(0.5, 20, noise_at_one="some")
    for steps in (0, -3, 2.5, "20", None):
        with pytest.raises(ValueError, match="must be a whole number"):
            resolve(0.5, steps)
    with pytest.raises(ValueError, match="num_inference_steps=1001 is more than the 1000 steps"):
        resolve(0.5, 1001)
    with pytest.raises(ValueError, match="starts at training step 1000, but the last one is 999"):
        resolve(1.0, 1000)
    assert resolve(0.5, 1001, "continuous")[0].steps == 1001
