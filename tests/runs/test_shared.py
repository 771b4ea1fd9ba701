"""A run encodes each picture once and reads each prompt once, and makes the pictures that the pipeline makes."""

import numpy as np
import pytest

from img2img_jax.inputs import find_inputs
from img2img_jax.runs import SharedEncodings, Sizing, make_plan, run, variations
from img2img_jax.sweep import Settings
from img2img_jax.testing.tiny import tiny_pipeline


class Counting:
    """A pipeline that notes what is asked of it."""

    def __init__(self, pipe):
        self.pipe, self.pictures, self.prompts = pipe, [], []

    def posterior(self, image, **options):
        self.pictures.append(image.tobytes())
        return self.pipe.posterior(image, **options)

    def encode_prompt(self, *texts, **options):
        self.prompts.append(texts)
        return self.pipe.encode_prompt(*texts, **options)

    def __call__(self, prompt, image, **options):
        assert prompt is None and image.shape[-1] == 4  # latents and text states: nothing is left to encode
        return self.pipe(prompt, image, **options)

    def __getattr__(self, name):
        return getattr(self.pipe, name)


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


def test_each_picture_and_each_prompt_once_in_a_run(folder, tmp_path, pipe, request):
    (folder / "p2.png").unlink()  # the only one of another size: one compilation less
    given = {name: request.getfixturevalue(name) for name in ("provenance", "manifest")}
    settings = variations(Settings(num_inference_steps=2, scheduler="ddim"), guidance_scale=[2.0, 5.0])
    plan = make_plan(
        find_inputs(folder),
        strengths=[0, 0.5, 1],
        seeds=[0, 1],
        settings=settings,
        sizing=Sizing(multiple=2),
        batch_size=7,
    )
    counting, seen = Counting(pipe), []

    def evaluate(source, output, *, source_latents, output_latents, **_):
        seen.append(abs(source_latents - output_latents).mean((1, 2, 3)))
        return {"latent": seen[-1]}

    rows = run(SharedEncodings(counting), plan, tmp_path / "w", evaluate=evaluate, **given)
    assert len(counting.pictures) == len(set(counting.pictures)) == 4
    assert sorted(counting.prompts) == [(f"picture {'x' * n}", None) for n in (0, 1, 3, 4)]
    made = [row for row in rows if "output" in row]
    assert len(made) == 4 * 3 * 2 * 2
    assert all((row["metrics"]["latent"] == 0) == (row["strength"] == 0) for row in made)
    assert any(len({row["guidance_scale"] for row in made if row["batch"] == n}) == 2 for n in range(len(plan.batches)))


def test_pictures_are_the_pipelines_own(pipe):
    image = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    call = dict(
        strength=[0.0, 0.4, 0.7, 1.0],
        seed=[3, 4, 3, 5],
        guidance_scale=[2.0, 5.0, 2.0, 3.0],
        negative_prompt=["x", "y", "x", "z"],
        num_inference_steps=3,
        scheduler="euler_a",
    )
    there, here = (each([*"abca"], image, **call) for each in (SharedEncodings(pipe), pipe))
    for mine, own in zip(there.images, here.images, strict=True):
        assert np.abs(np.asarray(mine, int) - np.asarray(own, int)).max() <= 1
    np.testing.assert_allclose(there.latents, here.latents, atol=1e-4)
    assert there.strength == here.strength
    np.testing.assert_array_equal(there.images[0], image[0])


def test_the_posterior_is_drawn_from_as_encoding_does(pipe):
    image = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3), np.uint8)
    drawn = pipe.draw(pipe.posterior(image), [7, 8])
    np.testing.assert_allclose(drawn, pipe.encode(image, seed=[7, 8]), atol=1e-5)
    assert abs(drawn - pipe.draw(pipe.posterior(image), [7, 9])).max((1, 2, 3)).tolist()[0] == 0
