"""Every solver against the closed-form answer of an analytic denoiser, through the compiled loop."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from img2img_jax import rng
from img2img_jax.diffusion.sample import sample, start
from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.diffusion.solvers import SCHEDULERS, Grid
from img2img_jax.diffusion.solvers.base import ScaledSolver
from img2img_jax.diffusion.solvers.pndm import PlmsGrid
from img2img_jax.diffusion.strength import Run
from img2img_jax.diffusion.table import tabulate
from img2img_jax.testing import AnalyticDenoiser

SD = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "steps_offset": 1,
}
# UniPC-2 has a corrector, which adds an order. LMS is fourth order only once its one-step start no longer matters.
ORDERS = {"ddim": 1, "euler": 1, "pndm": 2, "heun": 2, "dpmpp_2m": 2, "unipc": 3, "lms": 3}
STOCHASTIC = ["ddim", "ddpm", "euler_a", "dpmpp_2m_sde"]
TYPES = ["epsilon", "v_prediction", "sample"]


def scheduler(name, prediction_type="epsilon"):
    return Scheduler.from_config(SD | {"prediction_type": prediction_type}, name)


def smooth_grid(solver, steps):
    """Levels between two fixed ends, evenly spaced in the cube root of sigma / alpha; the last is not clean."""
    ratio = np.linspace(4.0 ** (1 / 3), 0.05 ** (1 / 3), steps + 1) ** 3
    alpha, sigma = 1 / np.sqrt(1 + ratio**2), ratio / np.sqrt(1 + ratio**2)
    grid = Grid.through(solver.schedule.timestep(ratio[:-1]), alpha, sigma)
    if "pndm" in type(solver).__name__.lower():
        before = np.maximum(np.arange(steps) - 1, 0)
        return PlmsGrid(**vars(grid), alpha_before=alpha[before], sigma_before=sigma[before])
    return grid


@jax.jit
def integrate(table, x, mean, std, kind):
    denoisers = [
        AnalyticDenoiser(schedule=scheduler("ddim").schedule, prediction_type=t, mean=mean, std=std) for t in TYPES
    ]
    return sample(lambda x, t: jax.lax.switch(kind, denoisers, x, t), x, table, step_keys=rng.sample_keys([0] * len(x)))


def error_of(name, prediction_type, steps, grid_of=smooth_grid):
    """The largest error on the way from one level to another; relative to deviations of order 1."""
    solver = scheduler(name, prediction_type).solver
    grid = grid_of(solver, steps)
    (resolved,) = scheduler(name).table(0.5, 4)[1]
    table = tabulate([Run(start=resolved, image_weight=0, noise_weight=1, rows=solver.rows(grid, 0))], 2 * 64)
    exact = AnalyticDenoiser(schedule=solver.schedule, mean=0.4, std=0.5)
    x = np.linspace(-2, 2, 16).reshape(1, 4, 4, 1)
    got = integrate(table, jnp.asarray(x, jnp.float32), 0.4, 0.5, TYPES.index(prediction_type))
    want = exact.flow(x, (grid.alpha[0], grid.sigma[0]), (grid.alpha_next[-1], grid.sigma_next[-1]))
    # Solvers in scaled form hand back x / alpha where the grid does not end clean.
    return np.abs(got * (grid.alpha_next[-1] if isinstance(solver, ScaledSolver) else 1) - want).max()


@pytest.mark.parametrize("prediction_type", TYPES)
@pytest.mark.parametrize("name", ORDERS)
def test_solvers_converge_at_their_order(name, prediction_type):
    steps = np.array([16, 32, 62])
    errors = [error_of(name, prediction_type, n) for n in steps]
    order = np.log(errors[0] / errors[-1]) / np.log(steps[-1] / steps[0])
    # PLMS combines v as v, which is first order only.
    want = 1 if (name, prediction_type) == ("pndm", "v_prediction") else ORDERS[name]
    assert order > want - 0.3, f"order {order:.2f}, errors {errors}"
    assert errors[-1] < 0.05


@pytest.mark.parametrize("name", ["euler_karras", "heun_karras", "dpmpp_2m_karras", "unipc_karras", "lms_karras"])
def test_karras_grids_converge_too(name):
    def without_the_clean_step(solver, steps):
        grid = solver.continuous_grid(800.0, steps + 1)
        return Grid(**{key: value[:-1] for key, value in vars(grid).items()})

    errors = [error_of(name, "epsilon", n, without_the_clean_step) for n in (16, 62)]
    assert np.log(errors[0] / errors[1]) / np.log(62 / 16) > ORDERS[name.removesuffix("_karras")] - 0.3


def test_ddim_is_euler_on_the_probability_flow_ode():
    for prediction_type in TYPES:
        ddim, euler = (scheduler(name, prediction_type).solver for name in ("ddim", "euler"))
        for t0 in (50.0, 600.0, 1000.0):
            rows = [solver.rows(solver.continuous_grid(t0, 12), 0) for solver in (ddim, euler)]
            for a, b in zip(*rows, strict=True):
                assert a.timestep == b.timestep
                np.testing.assert_allclose(a.x, b.x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_prediction_type_makes_no_difference_to_a_perfect_network(name):
    noise = jax.random.normal(jax.random.key(3), (1, 4, 4, 1))
    ends = []
    for kind, prediction_type in enumerate(TYPES):
        table, _ = scheduler(name, prediction_type).table(0.7, 10, "continuous")  # the network is told exact times
        ends.append(integrate(table, start(table, 1 - noise, noise), 0.4, 0.5, kind))
    # PLMS combines v as v and eps as eps: the same limit, not the same steps.
    for end in ends[2:] if name == "pndm" else ends[1:]:
        np.testing.assert_allclose(end, ends[0], atol=2e-5)


def after(name, rows, eta=0.0, mode="continuous"):
    """The state after so many rows when the data is one point, and its level."""
    sampler = scheduler(name)
    table, (resolved,) = sampler.table(0.8, 24, mode, eta=eta)
    solver = dataclasses.replace(sampler.solver, eta=eta)
    grid = solver.continuous_grid(800.0, 24)
    noise = jax.random.normal(jax.random.key(1), (1, 64, 64, 2))
    x = start(table, jnp.full_like(noise, 0.7), noise)
    short = dataclasses.replace(table, evaluations=np.int32([rows]), trip_count=np.int32(rows))
    step = rows // 2 if name.startswith("heun") else max(rows - 1, 0) if name == "pndm" else rows
    return np.asarray(integrate(short, x, 0.7, 0.0, 0)), float(grid.alpha[step]), float(grid.sigma[step])


@pytest.mark.parametrize("rows", [0, 2, 10, 20])
@pytest.mark.parametrize("name", [*SCHEDULERS, "ddim_eta"])
def test_states_have_the_mean_and_variance_of_their_level(name, rows):
    """Forward noising and every step's own noise: with x_0 known, x must be N(alpha x_0, sigma^2) all the way."""
    x, alpha, sigma = after(name.removesuffix("_eta"), rows, eta=0.6 if name == "ddim_eta" else 0.0)
    # 8192 numbers: a standard error of 0.8 % on the deviation, of 1.1 % of it on the mean. LCM's c_skip adds little.
    assert x.std() == pytest.approx(sigma, rel=0.03)
    assert x.mean() == pytest.approx(alpha * 0.7, abs=0.05 * sigma)


@pytest.mark.parametrize("variance_type", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("strength", [0.3, 0.8, 1.0])
def test_ddpm_ends_clean_in_continuous_mode(variance_type, strength):
    """Its last step is from a training step above 0, at which diffusers' own grids may add noise."""
    sampler = Scheduler.from_config(SD | {"variance_type": variance_type}, "ddpm")
    *rows, last = sampler.solver.rows(sampler.solver.continuous_grid(1000 * strength, 20), 0)
    assert last.timestep > 0 and not last.draws_noise and all(row.draws_noise for row in rows)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_stochastic_samplers_converge_to_the_data_distribution(name):
    noise = jax.random.normal(jax.random.key(2), (1, 64, 64, 2))
    ends = []
    for steps in (30, 120):
        table, _ = scheduler(name).table(1.0, steps, "continuous", eta=1.0 if name == "ddim" else 0.0)
        ends.append(np.asarray(integrate(table, start(table, noise, noise), 0.4, 0.5, 0)))
    few, many = (abs(end.std() - 0.5) for end in ends)
    assert many < max(few / 2, 0.01)  # 0.01: two standard errors and a half
    assert ends[1].mean() == pytest.approx(0.4, abs=0.02)
    assert abs(np.corrcoef(ends[1].ravel(), noise.ravel())[0, 1]) < 0.5  # the noise on the way took over
