"""A plan is the product of its knobs, in order, and follows from its arguments alone."""

import dataclasses

import pytest

from img2img_jax.inputs import find_inputs
from img2img_jax.runs import Sizing, make_plan, variations
from img2img_jax.sweep import Settings

KNOBS = dict(strengths=[0.2, 0.8], seeds=[0, 1, 2])


def plan(folder, **changes):
    return make_plan(find_inputs(folder), **(KNOBS | changes))


def test_every_combination_once_in_order(folder):
    made = plan(folder, settings=variations(scheduler=["ddim", "euler"], guidance_scale=[1, 4]))
    assert len(made.trials) == 5 * 4 * 2 * 3
    assert len({trial.id for trial in made.trials}) == len(made.trials)
    first = [(t.settings.scheduler, t.settings.guidance_scale, t.sample.strength, t.sample.seed) for t in made.trials]
    assert first[:24] == [(s, g, a, n) for s in ("ddim", "euler") for g in (1, 4) for a in (0.2, 0.8) for n in range(3)]
    places = [trial.index for trial in made.trials] + [failure.index for failure in made.failures]
    assert sorted(places) == list(range(len(made.trials) + 3))


def test_inputs_that_cannot_be_used_keep_their_place(folder):
    made = plan(folder)
    assert [(f.image, f.index) for f in made.failures] == [("broken.png", 6), ("missing.png", 7), ("silent.png", 32)]
    assert ["readable" in made.failures[0].error, "no such file" in made.failures[1].error] == [True, True]
    assert "no prompt" in made.failures[2].error
    assert len(plan(folder, prompts=["one", "two"]).trials) == 6 * 2 * 2 * 3


def test_batches_hold_one_shape_and_one_setting_but_many_strengths(folder):
    made = plan(folder, settings=variations(scheduler=["ddim", "euler"]), batch_size=16)
    assert sorted(t.index for b in made.batches for t in b.trials) == [t.index for t in made.trials]
    for batch in made.batches:
        assert len({(t.sample.pixels.shape, t.settings) for t in batch.trials}) == 1
        assert len(batch.trials) <= batch.size <= 16
    assert any(len({t.sample.strength for t in batch.trials}) > 1 for batch in made.batches)


def test_guidance_scales_and_negative_prompts_share_batches(folder):
    made = plan(folder, settings=variations(guidance_scale=[1, 3, 6]), batch_size=100)
    scales = [{t.settings.guidance_scale for t in batch.trials} for batch in made.batches]
    assert scales == [{1}, {1}, {3, 6}, {3, 6}]  # of two picture sizes; guidance switched off costs half
    inputs = [dataclasses.replace(i, negative_prompt=n) for i, n in zip(find_inputs(folder), "aaabbccc", strict=False)]
    made = make_plan(inputs, **KNOBS, settings=[Settings(negative_prompt="other")], batch_size=100)
    assert {t.settings.negative_prompt for batch in made.batches for t in batch.trials} == {*"abc"}
    assert len(made.batches) == 2


def test_settings_may_depend_on_the_strength(folder):
    made = plan(folder, settings=lambda strength: [Settings(num_inference_steps=round(10 / strength))])
    assert {(t.sample.strength, t.settings.num_inference_steps) for t in made.trials} == {(0.2, 50), (0.8, 12)}
    with pytest.raises(ValueError, match="settings of strength 0.2"):
        plan(folder, settings=lambda strength: [])


def test_masks_and_texts_of_inputs_are_part_of_the_plan(folder):
    item = find_inputs(folder)[0]
    changes = [{}, dict(source_prompt="x"), dict(group="x"), dict(mask=(0, 512 * 256)), dict(mask=(0, 512 * 128))]
    plans = [make_plan([dataclasses.replace(item, **change)], **KNOBS) for change in changes]
    assert len({made.sha256 for made in plans}) == len(plans)
    assert plans[3].trials[0].mask().mean() == pytest.approx(0.5, abs=0.1)
    missing = make_plan([dataclasses.replace(item, mask=folder / "none.png")], **KNOBS)
    assert "none.png" in missing.failures[0].error


def test_a_plan_holds_no_pictures(folder):
    assert all(trial.sample.pixels.strides == (0, 0, 0) for trial in plan(folder).trials)


def test_the_hash_knows_every_argument(folder):
    same = plan(folder).sha256
    assert plan(folder).sha256 == same
    others = [
        plan(folder, strengths=[0.2, 0.9]),
        plan(folder, seeds=[0, 2, 1]),
        plan(folder, settings=[Settings(num_inference_steps=9)]),
        plan(folder, sizing=Sizing(background="black")),
        plan(folder, batch_size=4),
        plan(folder, prompts=["x"]),
    ]
    (folder / "p3.png").write_bytes((folder / "p4.png").read_bytes())
    others.append(plan(folder))
    assert len({same, *(other.sha256 for other in others)}) == 8


@pytest.mark.parametrize(("value", "message"), [(1.5, "1.5 at index 1 is not in"), (float("nan"), "nan at index 1")])
def test_strengths_out_of_range_are_refused_before_the_run(folder, value, message):
    with pytest.raises(ValueError, match=f"strength {message}"):
        plan(folder, strengths=[0.5, value])
    with pytest.raises(ValueError, match=f"strength {message}"):
        plan(folder, strengths=[0.5, value], settings=lambda strength: [Settings()])


@pytest.mark.parametrize("knob", [dict(strengths=[]), dict(seeds=[1, 1]), dict(settings=[])])
def test_empty_and_repeated_knobs_are_refused(folder, knob):
    with pytest.raises(ValueError, match=f"{next(iter(knob))} .* must be one or more values, each once"):
        plan(folder, **knob)
