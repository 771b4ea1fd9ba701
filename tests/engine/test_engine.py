"""The engine's promises: every job its own result, bit for bit, one executable, no idle slots, nothing done twice."""

import dataclasses
from functools import partial

import numpy as np
import pytest

from img2img_jax import programs
from img2img_jax.engine import Engine, Job, slots
from img2img_jax.engine.flight import Flight
from img2img_jax.testing.tiny import tiny_pipeline, tiny_sdxl_pipeline


@pytest.fixture
def engine(pipe):
    return Engine(pipe, slots_per_device=2)


def as_call(job):
    """A job's arguments for the pipeline, in a batch as large as the engine's."""
    arguments = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)}
    arguments |= arguments.pop("conditions")
    return arguments | {"prompt": [job.prompt] * 2, "image": np.stack([job.image] * 2)}


@pytest.mark.usefixtures("alike_rows")
def test_a_result_depends_on_its_job_alone(engine, pipe, jobs, hashes):
    """Not on the other jobs, nor on their number or order, nor on what the engine did before."""
    wanted = hashes(engine, jobs, output_type="np")
    assert len(set(wanted)) == len(jobs)
    assert hashes(engine, jobs[::-1], output_type="np") == wanted[::-1]
    assert [hashes(Engine(pipe, slots_per_device=2), [job], output_type="np")[0] for job in jobs] == wanted
    assert hashes(engine, jobs + jobs, output_type="np") == wanted * 2


def test_results_are_those_of_the_pipeline(engine, pipe, jobs):
    """Another program, so not to the bit; but to a few units in the last place."""
    for result in engine.run(jobs, output_type="np"):
        out = pipe(**as_call(jobs[result.index]), output_type="np")
        assert result.start == out.strength[0] and result.job is jobs[result.index]
        np.testing.assert_allclose(result.image, out.images[0], atol=1e-4)
        if result.start.strength:
            np.testing.assert_allclose(result.latents, out.latents[0], atol=1e-4)


def test_strength_zero_is_the_input(engine, images, monkeypatch):
    for name in ("read_prompts", "posterior", "decode"):
        monkeypatch.setattr(programs, name, None)
    (result,) = engine.run([Job(prompt="a", image=images[0], strength=0)])
    np.testing.assert_array_equal(np.asarray(result.image), images[0])
    assert result.latents is result.source_latents is None and engine.statistics.utilisation == 1


def test_strength_zero_has_latents_on_request(engine, pipe, images):
    job = Job(prompt="a", image=images[0], strength=0, seed=3)
    found = {kind: next(engine.run([job], output_type=kind, latents_at_zero=True)) for kind in ("pil", "latent")}
    np.testing.assert_array_equal(np.asarray(found["pil"].image), images[0])
    for result in found.values():
        np.testing.assert_array_equal(result.latents, result.source_latents)
        np.testing.assert_allclose(result.latents, pipe.encode(images[[0, 0]], seed=3)[0], atol=1e-5)


def test_one_executable_serves_every_strength_sampler_step_count_scale_and_seed(engine, jobs, images, compilations):
    list(engine.run(jobs[1:2]))
    known = len(compilations)
    list(engine.run(jobs))
    more = [
        Job(prompt="x", image=images[0], strength=0.1, num_inference_steps=200, guidance_scale=3, scheduler="lms"),
        Job(prompt="y", image=images[1], strength_mode="continuous", num_inference_steps=2, seed=7),
        Job(prompt="z", image=images[2], strength=1, noise_at_one="leak", num_inference_steps=3, scheduler="lcm"),
    ]
    list(engine.run(more))
    assert len(compilations) == known


def test_a_sweep_over_strengths_hardly_wastes_a_step(engine, images):
    sweep = [
        Job(prompt="a", image=image, strength=s / 10, num_inference_steps=10) for s in range(1, 11) for image in images
    ]
    list(engine.run(sweep, output_type="latent"))
    counted = engine.statistics
    assert counted.useful_slot_steps == 3 * 55 and counted.jobs == 30
    assert counted.slot_steps % 2 == 0 and counted.utilisation >= 0.95


def test_slot_steps_are_those_the_devices_are_sent_through(engine, jobs, monkeypatch):
    sent, advance = [], slots.advance
    monkeypatch.setattr(slots, "advance", lambda *args: sent.append(int(args[-1])) or advance(*args))
    list(engine.run(jobs, output_type="latent"))
    assert engine.statistics.slot_steps == 2 * sum(sent) and engine.statistics.chunks == len(sent)


def test_pictures_are_encoded_and_texts_read_once(engine, jobs, monkeypatch):
    encoded, read = [], []
    posterior, read_prompts = programs.posterior, programs.read_prompts
    monkeypatch.setattr(programs, "posterior", lambda *a, **k: encoded.append(np.asarray(a[2])) or posterior(*a, **k))
    monkeypatch.setattr(programs, "read_prompts", lambda *a, **k: read.append(a[2]) or read_prompts(*a, **k))
    list(engine.run([*jobs, *jobs], output_type="latent"))
    pictures, texts = np.concatenate(encoded), np.concatenate(read)
    assert len(pictures) == 4 and len(np.unique(pictures, axis=0)) == engine.statistics.pictures_encoded == 3
    assert len(np.unique(texts, axis=0)) == 5  # 3 prompts, "ugly" and nothing
    for rows in read[:-1]:  # what fills the batches up stands at their ends
        assert len(np.unique(rows, axis=0)) == len(rows) or len(read) > 3


def test_the_next_chunk_is_sent_before_results_are_fetched(engine, jobs, monkeypatch):
    events, advance, landed = [], slots.advance, Flight._landed
    monkeypatch.setattr(slots, "advance", lambda *args: events.append("send") or advance(*args))
    monkeypatch.setattr(Flight, "_landed", lambda self, leaving: events.append("fetch") or landed(self, leaving))
    list(engine.run(jobs[1:], output_type="np"))
    sent = events.count("send")
    for place, event in enumerate(events):
        if event == "fetch" and events[:place].count("send") < sent:
            assert events[:place].count("send") == events[:place].count("fetch") + 2


def test_output_types(engine, images):
    job = Job(prompt="a", image=images[0], strength=0.5, num_inference_steps=4)
    by_type = {kind: next(engine.run([job], output_type=kind)) for kind in ("pil", "np", "latent")}
    np.testing.assert_array_equal(by_type["pil"].image, np.rint(255 * by_type["np"].image))
    np.testing.assert_array_equal(by_type["latent"].image, by_type["np"].latents)


def test_jobs_of_other_shapes_are_worked_on_apart(engine, pipe, images):
    """Guidance switched off, which is guidance of scale 1 at half the price; and prompts of several chunks."""
    base = Job(prompt="a", image=images[0], strength=0.5, num_inference_steps=4, guidance_scale=1 + 1e-6)
    chunked = dataclasses.replace(base, prompt="a BREAK (b:1.5)", prompt_syntax="a1111", guidance_scale=3)
    jobs = [base, dataclasses.replace(base, guidance_scale=1), chunked]
    found = {result.index: result.latents for result in engine.run(jobs, output_type="latent")}
    np.testing.assert_allclose(found[1], found[0], atol=1e-4)
    np.testing.assert_allclose(found[2], pipe(**as_call(chunked), output_type="latent").latents[0], atol=1e-4)


@pytest.mark.parametrize("family", ["sdxl", "lcm"])
def test_other_families(family, images):
    """What the UNet is told besides texts goes with its sample."""
    tiny = tiny_sdxl_pipeline if family == "sdxl" else partial(tiny_pipeline, time_cond_proj_dim=8)
    pipe = tiny(shallow=True)
    told = [dict(prompt_2="b", original_size=(64, 32)), dict(original_size=(32, 64))] if family == "sdxl" else [{}] * 2
    jobs = [
        Job(prompt="a", image=images[n], strength=0.5, num_inference_steps=4, guidance_scale=3 + n, conditions=told[n])
        for n in range(2)
    ]
    found = {r.index: r.latents for r in Engine(pipe, slots_per_device=2).run(jobs, output_type="latent")}
    for index, job in enumerate(jobs):
        np.testing.assert_allclose(found[index], pipe(**as_call(job), output_type="latent").latents[0], atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(strength=1.5), "job 1: strength 1.5"),
        (dict(guidance_scale=float("nan")), "job 1: guidance_scale"),
        (dict(guidance_rescale=2.0), "job 1: guidance_rescale=2"),
        (dict(seed=-1), "job 1: seed -1"),
        (dict(prompt=3), "job 1: prompt"),
        (dict(prompt=["a", "b"]), "job 1: .* a job is one sample"),
        (dict(scheduler="none"), "job 1: scheduler 'none'"),
        (dict(eta=0.5, scheduler="euler"), "job 1: eta=0.5"),
        (dict(prompt_syntax="none"), "job 1: prompt_syntax='none'"),
        (dict(clip_skip=5), "job 1: clip_skip=5"),
        (dict(image="missing.png"), "job 1: .*missing.png"),
        (dict(height=13), "job 1: height 13"),
        (dict(conditions=dict(original_size=(8, 8))), "job 1: original_size"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_bad_job_is_named_before_anything_runs(engine, images, changes, message):
    job = Job(prompt="a", image=images[0])
    with pytest.raises(ValueError, match=message):
        engine.run([job, dataclasses.replace(job, **changes)])
    assert engine.statistics.chunks == 0


def test_bad_arguments_are_named(pipe, engine):
    for changes in (dict(slots_per_device=0), dict(vae_batch_per_device=0), dict(vae_tile_size=13)):
        with pytest.raises(ValueError, match=f"{next(iter(changes))}={next(iter(changes.values()))}"):
            Engine(pipe, **changes)
    with pytest.raises(ValueError, match="output_type='jpg'"):
        engine.run([], output_type="jpg")
    assert list(engine.run([])) == []
