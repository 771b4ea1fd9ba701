"""What tickets of jobs share, and what they do not."""

import dataclasses

import numpy as np
import pytest

from img2img_jax.engine import Job
from img2img_jax.engine.ticket import ROWS, Desk

SAME_EXECUTABLE = dict(
    prompt="b",
    negative_prompt="c",
    strength=0.2,
    num_inference_steps=200,
    guidance_scale=2.0,
    seed=3,
    scheduler="heun",
    strength_mode="continuous",
    eta=0.5,
)
OTHER_EXECUTABLE = dict(num_inference_steps=300, guidance_scale=1.0, height=8, prompt_syntax="a1111")


@pytest.fixture
def ticket(pipe, images):
    desk = Desk(pipe, pipe.conditioner)

    def make(**changes):
        return desk.ticket(0, Job(**dict(prompt="a BREAK a", image=images[0], scheduler="ddim") | changes))

    return make


@pytest.mark.parametrize("name", SAME_EXECUTABLE)
def test_data_shares_an_executable(ticket, name):
    if name == "scheduler":  # two rows a step: 100 of them
        assert ticket(scheduler="heun").table.timestep.shape[1] > ticket().table.timestep.shape[1]
    assert ticket(**{name: SAME_EXECUTABLE[name]}).executable == ticket().executable


@pytest.mark.parametrize("name", OTHER_EXECUTABLE)
def test_shapes_do_not(ticket, name):
    assert ticket(**{name: OTHER_EXECUTABLE[name]}).executable != ticket().executable


@pytest.mark.parametrize("changes", [dict(prompt="b"), dict(negative_prompt="c"), dict(clip_skip=1), dict(height=8)])
def test_conditions_are_told_apart(ticket, changes):
    assert ticket(**changes).condition != ticket().condition
    assert ticket(seed=3, strength=0.2).condition == ticket().condition


def test_equal_pictures_are_one_picture(ticket, images, tmp_path):
    assert ticket(image=images[0].copy()).picture == ticket().picture
    assert ticket(image=images[1]).picture != ticket().picture
    assert ticket(image=images[0] / np.float32(255)).picture != ticket().picture
    np.testing.assert_array_equal(ticket().pixels, images[0])
    assert ticket(height=8).pixels.shape == (8, 8, 3)


def test_tables_of_an_executable_are_of_one_length(ticket):
    for steps in (1, 100, ROWS):
        table = ticket(num_inference_steps=steps, strength=1).whole_table
        assert {leaf.shape[1] for leaf in vars(table).values() if np.ndim(leaf) > 1} == {ROWS}
        assert table.evaluations.tolist() == [steps]


def test_given_states_are_compared_by_content(ticket):
    states = np.random.default_rng(0).standard_normal((1, 16, 32)).astype(np.float32)
    given = dict(prompt=None, conditions=dict(prompt_embeds=states))
    again = dict(prompt=None, conditions=dict(prompt_embeds=states.copy()))
    assert ticket(**given).condition == ticket(**again).condition
    assert dataclasses.replace(ticket(**given), told={}).condition != ticket(**given).condition


@pytest.mark.parametrize("name", ["scheduler", "strength", "num_inference_steps", "strength_mode", "eta"])
def test_a_job_with_several_values_is_told_to_be_several(ticket, name):
    with pytest.raises(ValueError, match=rf"^job 0: {name}=\[.*make a job of each"):
        ticket(**{name: [SAME_EXECUTABLE[name]] * 2})
