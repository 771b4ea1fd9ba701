"""The search through a whole pipeline, against a dense sweep of the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from img2img_jax import find_strength, programs
from img2img_jax.metrics import Evaluator
from img2img_jax.testing.tiny import random_images, tiny_pipeline, tiny_sdxl_pipeline

PROMPTS = ["a red cat", "a blue dog"]
SETTINGS = dict(num_inference_steps=3, guidance_scale=1.5)


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def images():
    """uint8 [2, 16, 16, 3]; every call has two samples of two points, so that one set of programs serves all."""
    return np.asarray(np.rint(255 * random_images(2)), np.uint8)


@pytest.fixture
def find(pipe, images):
    def run(target, **changes):
        return find_strength(pipe, images, PROMPTS, target=target, **SETTINGS | changes)

    return run


@pytest.fixture(scope="module")
def sweep(pipe, images):
    """40 strengths above 0, and how far the latents of two pictures have moved at each, [40, 2]."""
    strengths, rows = np.linspace(0, 1, 41)[1:], []
    source = np.repeat(pipe.encode(images), 2, axis=0)
    for pair in strengths.reshape(-1, 2):
        out = pipe(
            np.repeat(PROMPTS, 2).tolist(),
            np.repeat(images, 2, axis=0),
            strength=[*pair, *pair],
            strength_mode="continuous",
            output_type="latent",
            **SETTINGS,
        )
        rows += np.square(out.latents - source).mean((1, 2, 3)).reshape(2, 2).T.tolist()
    return strengths, np.asarray(rows)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_finds_what_a_dense_sweep_finds(find, sweep, share):
    strengths, values = sweep
    wanted = share * float(values.max(0).min())
    for place, found in enumerate(find({"latent_mse": wanted})):
        assert found.reached and found.problem is None and found.evaluations <= 20 / 3
        assert abs(found.value - wanted) <= found.tolerance
        # The sweep says as well that about here the metric has this value.
        assert found.value == pytest.approx(np.interp(found.strength, strengths, values[:, place]), abs=found.tolerance)


def test_the_answer_can_be_made_again_from_the_picture_and_the_text(pipe, images, find):
    found = find({"mse": 0.1}, seed=[3, 4])
    out = pipe(
        [text for text in PROMPTS for _ in "ab"],
        np.repeat(images, 2, axis=0),
        seed=[3, 3, 4, 4],
        strength=[each.strength for each in found for _ in "ab"],
        strength_mode="continuous",
        output_type="np",
        **SETTINGS,
    )
    for place, each in enumerate(found):
        np.testing.assert_allclose(each.picture, out.images[2 * place], atol=1e-4)
        assert each.start == out.strength[2 * place]
        assert dict(each.curve.pairs)[each.strength] == each.value
        assert len(each.curve.pairs) == each.evaluations + 1


def test_targets_out_of_reach_say_so(find):
    for found in find({"mse": 0.9}):
        assert not found.reached and "mse=0.9 is out of reach" in found.problem
        assert found.value == max(found.curve.values[1:])
    for found in find({"mse": 0.0}):
        # Nothing but strength 0 itself is better than the VAE's round trip.
        assert not found.reached and f"gives {found.curve.values[0]:.4g}" in found.problem and found.strength > 0


def test_the_curve_begins_at_the_round_trip_of_the_vae(pipe, images, find):
    decoded = pipe.decode(np.repeat(pipe.encode(images, seed=0), 2, axis=0))[::2]
    wanted = np.square(decoded - images / np.float32(255)).mean((1, 2, 3))
    assert [found.curve.values[0] for found in find({"mse": 0.1})] == pytest.approx(wanted, rel=1e-5)


def test_other_pictures_and_targets_compile_nothing_and_encode_once(find, images, compilations, monkeypatch):
    find({"mse": 0.0})
    del compilations[:]
    calls = []
    for name in ("encode", "read_prompts", "denoise"):
        program = getattr(programs, name)
        monkeypatch.setattr(
            programs, name, lambda *a, _name=name, _run=program, **k: (calls.append(_name), _run(*a, **k))[1]
        )
    found = find({"mse": 0.0}, seed=9, guidance_scale=[2.5, 4.0])
    assert calls.count("encode") == 1 and calls.count("denoise") == 3
    assert calls.count("read_prompts") == 2  # prompts, and what guidance leads away from
    find({"mse": 0.07})
    assert compilations == [] and found[0].evaluations == 6


class Colours:
    """Stands for a CLIP: a picture is its mean colour, a text its first letters."""

    def pictures(self, images):
        return jnp.mean(images, (1, 2))

    def texts(self, texts):
        return jnp.asarray([[ord(letter) for letter in text[2:5]] for text in texts], jnp.float32)


def test_texts_and_networks_are_asked_for(find):
    evaluator = Evaluator({"clip": Colours()})
    for target in ({"clip_text": "knee"}, {"clip_direction": 5.0}):
        for found in find(target, evaluator=evaluator, source_prompt="a cat", evaluations=2):
            assert np.isfinite(found.curve.values).all() and found.evaluations == 2


def test_lpips_stands_for_the_one_that_is_loaded():
    assert Evaluator({"lpips_vgg": None}).only("l1", "lpips").names == ["l1", "lpips_vgg"]
    with pytest.raises(ValueError, match="one of lpips_alex, lpips_vgg"):
        Evaluator({"lpips_alex": None, "lpips_vgg": None}).only("lpips")


@pytest.mark.parametrize("make", [tiny_pipeline, tiny_sdxl_pipeline])
def test_given_texts_say_what_read_ones_say(make, images, monkeypatch):
    told = []
    monkeypatch.setattr(programs, "denoise", lambda *given: (told.append((given[5], given[9])), given[4])[1])
    pipe = make()
    latents = np.zeros((2, 8, 8, 4), np.float32)
    for negative in (None, "a grey fox"):
        texts = pipe.encode_prompt(PROMPTS, negative)
        pipe(None, latents, **texts, output_type="latent")
        pipe(PROMPTS, latents, negative_prompt=negative, output_type="latent")
        given, read = jax.tree.leaves(told[-2]), jax.tree.leaves(told[-1])
        assert len(given) == len(read)
        for one, other in zip(given, read, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("target", "changes", "message"),
    [
        ({"smoothness": 1}, {}, "metric 'smoothness' is not known; choose from l1"),
        ({"ssim": "half"}, {}, "ssim='half' is neither"),
        ({"lpips": 0.3}, {}, "'lpips' stands for one of none that is loaded"),
        ({"lpips_vgg": 0.3}, {}, "lpips_vgg needs the network"),
        ({"mse": 0.1}, {"points": 0}, "points=0"),
        ({"mse": 0.1}, {"evaluations": 1}, "evaluations=1"),
        ({"mse": 0.1}, {"seed": [1, 2, 3]}, "the batch has 3 samples"),
        ({"mse": 0.1}, {"guidance_scale": float("nan")}, "not a finite number"),
    ],
)
def test_bad_arguments_are_named(find, target, changes, message):
    with pytest.raises(ValueError, match=message):
        find(target, **changes)
