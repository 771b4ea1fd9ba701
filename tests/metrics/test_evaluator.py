"""What the way in accepts, refuses and leaves out."""

import jax.numpy as jnp
import numpy as np
import pytest

from img2img_jax.metrics import METRICS, Evaluator, compare_sets
from img2img_jax.metrics.clip_features import CLIPFeatures
from img2img_jax.testing.tiny import random_images

IMAGES = np.asarray(random_images(2, 16))
BARE = Evaluator({})


def test_by_default_all_that_the_inputs_allow():
    found = set(Evaluator({}, ["l1", "mse"])(IMAGES, IMAGES))
    assert found == {"l1", "mse"}
    without_networks = {n for n, metric in METRICS.items() if metric.network is None and "mask" not in metric.inputs}
    latents = dict(source_latents=np.zeros((2, 2, 2, 4)), output_latents=np.zeros((2, 2, 2, 4)))
    assert set(BARE(IMAGES, IMAGES)) == without_networks - {"latent_mse", "ms_ssim"}
    assert set(BARE(IMAGES, IMAGES, **latents)) == without_networks - {"ms_ssim"}


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("lpips_vgg", "needs the network 'lpips_vgg'"),
        ("latent_mse", "source_latents and output_latents"),
        ("ms_ssim", "161 pixels a side, not 16"),
    ],
)
def test_a_metric_asked_for_by_name_must_be_possible(name, needs):
    with pytest.raises(ValueError, match=needs):
        Evaluator({}, [name])(IMAGES, IMAGES)


def test_obstacles_are_told_without_computing_anything():
    blank = np.broadcast_to(np.uint8(0), (1, 16, 16, 3))
    found = Evaluator({}, ["l1", "ms_ssim", "lpips_vgg"]).obstacles(source=blank, output=blank)
    assert list(found) == ["ms_ssim", "lpips_vgg"] and "161 pixels a side, not 16" in found["ms_ssim"]


def test_unknown_names_are_refused_before_networks_load():
    with pytest.raises(ValueError, match="'ssmi' is not known; choose from l1, "):
        Evaluator({}, ["l1", "ssmi"])


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (IMAGES[0], "pictures are"),
        (np.uint8(IMAGES), "as_unit"),
        (2 * IMAGES, "pictures are in 0 to 1"),
        (IMAGES - 1, "pictures are in 0 to 1"),
        (np.where(IMAGES > 0.9, np.nan, IMAGES), "nan"),
        (jnp.asarray(2 * IMAGES), "pictures are in 0 to 1"),
        (IMAGES[:1], "output"),
        (IMAGES[:, :8], "output"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(source, problem):
    with pytest.raises(ValueError, match=problem):
        BARE(source, IMAGES)


@pytest.mark.parametrize("prompt", ["ab", ["a"], ["a", "b", "c"]])
def test_one_prompt_per_sample(prompt):
    with pytest.raises(ValueError, match="prompt must have one entry per sample, 2"):
        BARE(IMAGES, IMAGES, prompt=prompt)


def test_prompts_reach_the_clip_metrics(evaluator):
    names = ["clip_text", "clip_direction"]
    run = Evaluator(evaluator._networks, names)
    first = run(IMAGES, IMAGES[::-1], prompt=["ab", "ab"], source_prompt=["x", "x"])
    other = run(IMAGES, IMAGES[::-1], prompt=["ab", "cd"], source_prompt=["x", "x"])
    for name in names:
        assert first[name][0] == other[name][0]
        assert first[name][1] != other[name][1]
    unchanged = run(IMAGES, IMAGES, prompt=["ab", "ab"], source_prompt=["x", "ab"])
    np.testing.assert_array_equal(unchanged["clip_direction"], 0)


def test_a_text_is_read_once(networks, monkeypatch):
    clip, calls = networks["clip"], []
    fresh = CLIPFeatures.__new__(CLIPFeatures)
    fresh.__dict__.update(vars(clip), _known={})
    inner = fresh._tokenizer

    def tokenizer(texts, **options):
        calls.extend([texts] if isinstance(texts, str) else texts)
        return inner(texts, **options)

    fresh._tokenizer = tokenizer
    first = fresh.texts(["p", "q", "p"])
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(fresh.texts(["q"]), first[1:2])
    assert calls.count("p") <= 2  # once to count its tokens, once to encode it
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)


def test_sets_of_features_are_compared():
    rng = np.random.default_rng(0)
    near, far = rng.standard_normal((2, 40, 6)), rng.standard_normal((40, 6)) + 2
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (*near, far)]
    same, other = compare_sets(unit[0], unit[1]), compare_sets(unit[0], unit[2])
    assert same["kid"] < 0.1 * other["kid"] and same["cmmd"] < 0.1 * other["cmmd"]
    with pytest.raises(ValueError, match="need a CLIP"):
        BARE.features(IMAGES)
