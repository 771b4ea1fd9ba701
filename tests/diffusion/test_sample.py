"""The laws of strength on the sampling loop, for every sampler and mode, and the loop's own promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from img2img_jax import rng
from img2img_jax.diffusion.sample import LoopState, advance, sample, start
from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.diffusion.solvers import SCHEDULERS
from img2img_jax.diffusion.strength import MODES
from img2img_jax.testing import AnalyticDenoiser

SD = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "steps_offset": 1,
}
SHAPE = (4, 3, 2)
DENOISER = AnalyticDenoiser(schedule=Scheduler.from_config(SD, "ddim").schedule, mean=0.4, std=0.5)
KEYS = rng.sample_keys([7, 8, 9])
LATENTS, OTHER = jax.random.normal(jax.random.key(0), (2, 3, *SHAPE))
NOISE = rng.normal(rng.stream(KEYS, "noise"), SHAPE)


@jax.jit
def run(table, latents, noise, keys):
    return sample(DENOISER, start(table, latents, noise), table, step_keys=rng.stream(keys, "step"))


def table_of(name, strength, mode="truncate", steps=10, **options):
    return Scheduler.from_config(SD, name).table(strength, steps, mode, **options)[0]


def steps_that_remember(name):
    """LCM noises every clean guess afresh: after ten such jumps float32 knows nothing of the start."""
    return 2 if name == "lcm" else 10


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_strength_zero_is_the_identity(name, mode):
    got = run(table_of(name, [0.0, 0.5, 0.0], mode), LATENTS, NOISE, KEYS)
    np.testing.assert_array_equal(got[0], LATENTS[0])
    np.testing.assert_array_equal(got[2], LATENTS[2])
    assert not np.array_equal(got[1], LATENTS[1])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_strength_one_does_not_depend_on_the_image(name, mode):
    table = table_of(name, [1.0, 1.0, 0.9], mode, steps=steps_that_remember(name))
    got, other = (np.asarray(run(table, latents, NOISE, KEYS)) for latents in (LATENTS, OTHER))
    np.testing.assert_array_equal(got[:2], other[:2])
    assert not np.allclose(got[2], other[2])
    broken = run(table, jnp.full_like(LATENTS, jnp.nan), NOISE, KEYS)
    np.testing.assert_array_equal(got[:2], broken[:2])


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_leak_is_there_when_asked_for(name):
    table = table_of(name, [1.0] * 3, steps=steps_that_remember(name), noise_at_one="leak")
    assert not np.array_equal(run(table, LATENTS, NOISE, KEYS), run(table, OTHER, NOISE, KEYS))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_text_to_image_starts_from_noise_of_the_size_the_spacing_wants(name):
    for spacing in ("leading", "trailing"):
        scheduler = Scheduler.from_config(SD | {"timestep_spacing": spacing}, name)
        table, (resolved,) = scheduler.table(1.0, 10)
        in_scaled_form = name.startswith(("euler", "heun", "lms")) and spacing == "trailing"
        want = resolved.sigma if in_scaled_form else 1.0
        assert (table.image_weight[0], table.noise_weight[0]) == (0, pytest.approx(want))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_continuous_strengths_that_differ_give_latents_that_differ(name):
    strengths = [0.5, 0.501, 0.9991]
    latents, noise = (jnp.stack([a[0]] * 3) for a in (LATENTS, NOISE))
    keys = rng.sample_keys([7] * 3)
    near = np.asarray(run(table_of(name, strengths, "continuous"), latents, noise, keys))
    far = np.asarray(run(table_of(name, [0.9995, 0.9999, 0.01], "continuous"), latents, noise, keys))
    assert len({a.tobytes() for a in (*near, *far)}) == 6


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_mixed_batch_equals_its_single_runs(name, mode):
    strengths = [0.2, 0.5, 0.8] if name != "lcm" or mode != "exact" else [0.3, 0.5, 0.8]
    together = run(table_of(name, strengths, mode), LATENTS, NOISE, KEYS)
    for b, s in enumerate(strengths):
        only = slice(b, b + 1)
        alone = run(table_of(name, s, mode), LATENTS[only], NOISE[only], KEYS[only])
        np.testing.assert_allclose(together[only], alone, rtol=1e-5, atol=1e-6)


def test_everything_that_varies_is_data():
    """Strengths, modes, samplers, seeds and step counts of one bucket share one executable."""
    traces = []

    @jax.jit
    def counted(table, latents, noise, keys):
        traces.append(1)
        return sample(DENOISER, start(table, latents, noise), table, step_keys=keys)

    for i, s in enumerate(np.linspace(0.1, 1, 10)):
        counted(table_of("ddim", [s, 1 - s, 0.5], "exact", steps=5), LATENTS, NOISE, rng.sample_keys([i] * 3))
    for name in SCHEDULERS:
        for mode in MODES:
            counted(table_of(name, [0.3, 0.5, 1.0], mode, steps=9), LATENTS, NOISE, KEYS)
    assert len(traces) == 1


def test_noise_belongs_to_the_sample():
    table = table_of("euler_a", [0.5, 0.5, 0.5])
    order = np.array([2, 0, 1])
    straight, shuffled = run(table, LATENTS, NOISE, KEYS), run(table, LATENTS[order], NOISE[order], KEYS[order])
    np.testing.assert_allclose(straight[order], shuffled, rtol=1e-6, atol=1e-6)
    other_seeds = run(table, LATENTS, NOISE, rng.sample_keys([1, 8, 9]))
    assert not np.allclose(straight[0], other_seeds[0])
    np.testing.assert_array_equal(straight[1:], other_seeds[1:])


@pytest.mark.parametrize("name", ["euler_a", "lcm", "ddpm", "dpmpp_2m_sde"])
def test_given_noise_is_used_row_by_row_as_drawn_noise_is(name):
    """Handing over the noise that would have been drawn changes nothing; each row uses the sample's own count."""
    table = table_of(name, [0.3, 0.6, 1.0])
    step_keys = rng.stream(KEYS, "step")
    given = jnp.stack([rng.normal(rng.fold_in(step_keys, i), SHAPE) for i in range(10)])
    got = jax.jit(sample, static_argnums=0)(DENOISER, start(table, LATENTS, NOISE), table, step_noise=given)
    np.testing.assert_allclose(got, run(table, LATENTS, NOISE, KEYS), rtol=1e-5, atol=1e-6)


def test_no_noise_is_drawn_for_deterministic_samplers():
    drawn = []

    def noisy(name):
        table = table_of(name, [0.5] * 3)

        def denoise(x, t):
            return DENOISER(x, t)

        noise = jnp.full((10, *NOISE.shape), jnp.nan)
        drawn.append(bool(jnp.isnan(sample(denoise, start(table, LATENTS, NOISE), table, step_noise=noise)).any()))

    noisy("dpmpp_2m")
    noisy("euler_a")
    assert drawn == [False, True]


def test_a_finished_sample_is_left_alone_whatever_the_network_says():
    table = table_of("ddim", [0.1, 1.0, 0.0])
    calls = []

    def network(x, t):
        calls.append(t)
        return jnp.where((t == 0)[:, None, None, None], jnp.nan, DENOISER(x, t))  # padding asks about timestep 0

    got = sample(network, start(table, LATENTS, NOISE), table, step_keys=KEYS)
    np.testing.assert_allclose(got, run(table, LATENTS, NOISE, KEYS), rtol=1e-5, atol=1e-6)
    assert len(calls) == 1  # traced once: a loop, not an unrolled program


def test_low_precision_networks_are_fine():
    table = table_of("dpmpp_2m", [0.5] * 3)
    got = sample(lambda x, t: DENOISER(x, t).astype(jnp.bfloat16), start(table, LATENTS, NOISE), table, step_keys=KEYS)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, run(table, LATENTS, NOISE, KEYS), atol=0.05)


def test_clipping_bounds_the_clean_prediction():
    config = {key: value for key, value in SD.items() if key != "clip_sample"}
    clipped, free = (Scheduler.from_config(c, "ddim").table([0.5] * 3, 10)[0] for c in (config, SD))
    got, wild = (
        sample(lambda x, t: jnp.full_like(x, -50.0), start(table, LATENTS, NOISE), table, step_keys=KEYS)
        for table in (clipped, free)
    )
    np.testing.assert_allclose(got, 1.0, atol=1e-5)
    assert np.all(wild > 10)


def test_noise_must_come_from_somewhere_and_fit():
    table = table_of("ddim", [0.5] * 3)
    for options in ({}, {"step_keys": KEYS, "step_noise": NOISE[None]}):
        with pytest.raises(ValueError, match="either step_keys or step_noise"):
            sample(DENOISER, LATENTS, table, **options)
    with pytest.raises(ValueError, match=r"step_noise has shape \(3, 4, 3, 2\)"):
        sample(DENOISER, LATENTS, table, step_noise=NOISE)


@pytest.mark.parametrize("name", ["ddim", "unipc", "heun", "pndm", "euler_a"])
def test_the_loop_can_be_left_and_entered_at_any_row(name):
    """Samples that stand at different rows of different tables go on as if they had never stopped, bit for bit."""
    table = table_of(name, [0.3, 0.6, 1.0])
    fresh = LoopState.enter(start(table, LATENTS, NOISE))
    whole = go_on(table, fresh, KEYS, 100)
    np.testing.assert_allclose(whole.x, run(table, LATENTS, NOISE, KEYS), atol=1e-5)
    np.testing.assert_array_equal(whole.row, table.evaluations)
    state = fresh
    for rows in (2, 0, 1, 30):
        state = go_on(table, state, KEYS, rows)
    np.testing.assert_array_equal(state.x, whole.x)
    apart = jax.tree.map(lambda ahead, behind: behind.at[0].set(ahead[0]), go_on(table, fresh, KEYS, 2), fresh)
    assert apart.row.tolist() == [2, 0, 0]
    np.testing.assert_array_equal(go_on(table, apart, KEYS, 100).x, whole.x)


@jax.jit
def go_on(table, state, keys, rows):
    return advance(DENOISER, state, table, rows, step_keys=rng.stream(keys, "step"))
