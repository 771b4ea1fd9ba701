"""SDXL through the public call, without PyTorch: texts and sizes to conditions, hand-over, errors."""

from functools import partial

import jax
import numpy as np
import pytest

from img2img_jax import Img2ImgPipeline, programs
from img2img_jax.models import CLIPTextModelWithProjection
from img2img_jax.testing.rows import rows_alike
from img2img_jax.testing.tiny import random_images, tiny_pipeline, tiny_sdxl_pipeline

PROMPTS = ["a red cat", "a blue dog"]


@pytest.fixture(scope="module")
def base():
    return tiny_sdxl_pipeline()


@pytest.fixture(scope="module")
def refiner():
    return tiny_sdxl_pipeline(refiner=True)


@pytest.fixture(scope="module")
def other():
    """Of the family that takes none of this."""
    return tiny_pipeline()


@pytest.fixture(scope="module")
def images():
    return np.asarray(random_images(2))


@pytest.fixture
def call(base, images):
    """Latents of a batch of two, under options that a test changes."""

    def run(pipe=base, **changes):
        options = dict(prompt=PROMPTS, image=images, strength=0.5, num_inference_steps=6, output_type="latent")
        return pipe(**options | changes).latents

    return run


def error(found, wanted):
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


def encoded(pipe):
    """What each encoder makes of the prompts."""
    return [e.encode(PROMPTS, e.tokenise(PROMPTS, "plain"), 1, 0) for e in pipe.conditioner.encoders]


class TestTexts:
    def test_states_are_the_penultimate_ones_side_by_side(self, base):
        first, second = encoded(base)
        columns = base.conditioner.columns(dict(prompt=PROMPTS)) | {"negative_prompt": [None] * 2}
        columns = {name: column * (2 // len(column)) for name, column in columns.items()}
        text, added = base.conditioner(columns, (16, 16), guided=True)
        np.testing.assert_array_equal(text[:, 1], np.concatenate([first.states, second.states], axis=-1))
        np.testing.assert_array_equal(added.text_embeds[:, 1], second.pooled)
        assert not text[:, 0].any() and not added.text_embeds[:, 0].any()
        assert text.shape == (2, 2, 16, 48) and added.text_embeds.shape == (2, 2, 12)
        assert base.conditioner(columns, (16, 16), guided=False).added.time_ids.shape == (2, 1, 6)

    def test_a_conditioner_that_remembers_reads_no_text_twice(self, base, monkeypatch):
        columns = base.conditioner.columns(dict(prompt=PROMPTS, negative_prompt=["a blue dog", ""]))
        wanted, remembering = base.conditioner(columns, (16, 16), guided=True), base.conditioner.remembering()
        found = remembering(columns, (16, 16), guided=True)
        same = partial(np.testing.assert_allclose, rtol=0, atol=0 if rows_alike() else 1e-5)  # read at other places
        same(found.text, wanted.text)
        same(found.added.text_embeds, wanted.added.text_embeds)
        monkeypatch.setattr(programs, "read_prompts", None)
        crossed = columns | {"prompt": [PROMPTS[1], ""], "negative_prompt": [PROMPTS[0]] * 2}
        found = remembering(crossed, (16, 16), guided=True)
        same(found.text[:, 1], wanted.text[:, 0])
        with pytest.raises(TypeError):  # other layers are other states
            remembering(crossed, (16, 16), guided=True, clip_skip=1)

    def test_the_refiner_reads_the_empty_text_for_no_negative_prompt(self, call, refiner):
        np.testing.assert_array_equal(call(refiner), call(refiner, negative_prompt=""))
        assert error(call(negative_prompt=""), call()) > 1e-3

    def test_each_encoder_may_have_its_own(self, call):
        np.testing.assert_array_equal(call(prompt_2=PROMPTS), call())
        changed = call(prompt_2=[PROMPTS[0], "a house"])
        assert [error(changed[b], call()[b]) > 1e-3 for b in range(2)] == [False, True]
        negative = call(negative_prompt="grey")
        np.testing.assert_array_equal(call(negative_prompt="grey", negative_prompt_2="grey"), negative)
        assert error(call(negative_prompt="grey", negative_prompt_2="blue"), negative) > 1e-3

    def test_weights_and_chunks_reach_both_encoders(self, base, call):
        read = dict(prompt_syntax="a1111")
        np.testing.assert_array_equal(call(**read), call())
        for name in ("prompt", "prompt_2"):
            changed = call(**{name: [PROMPTS[0], "a (blue:1.4) dog"]}, **read)
            assert [error(changed[b], call()[b]) > 1e-4 for b in range(2)] == [False, True], name
        columns = base.conditioner.columns(dict(prompt=["a BREAK b", "c"], prompt_2=["a", "b BREAK c BREAK d"]))
        columns = {name: column * (2 // len(column)) for name, column in columns.items()}
        text, added = base.conditioner(columns, (16, 16), guided=True, **read)
        assert text.shape == (2, 2, 3 * 16, 48) and added.text_embeds.shape == (2, 2, 12)

    def test_clip_skip_leaves_layers_of_the_prompt_out(self, call):
        assert error(call(clip_skip=1), call()) > 1e-4
        plain, read = dict(clip_skip=1, negative_prompt="grey"), dict(prompt_syntax="a1111")
        assert error(call(**plain), call(**plain, **read)) > 1e-4

    def test_embeds_stand_for_prompts(self, base, call):
        first, second = encoded(base)
        states = np.concatenate([first.states, second.states], axis=-1)
        found = call(prompt=None, prompt_embeds=states, pooled_prompt_embeds=second.pooled)
        np.testing.assert_array_equal(found, call())
        zeros = dict(negative_prompt_embeds=np.zeros((1, 16, 48)), negative_pooled_prompt_embeds=np.zeros((1, 12)))
        np.testing.assert_array_equal(call(**zeros), call())


def test_every_number_matters(call, refiner):
    sizes = ("original_size", "crops_coords_top_left", "target_size")
    plain, scored = call(), call(refiner)
    for sign in ("", "negative_"):
        for name in sizes:
            assert error(call(**{sign + name: (99, 5)}), plain) > 1e-4, sign + name
        assert error(call(refiner, **{f"{sign}aesthetic_score": 9}), scored) > 1e-4
    per_sample = call(original_size=[(16, 16), (99, 5)])
    assert [error(per_sample[b], plain[b]) > 1e-4 for b in range(2)] == [False, True]
    np.testing.assert_array_equal(call(original_size=(16, 16), target_size=(16, 16)), plain)


def test_values_compile_nothing_anew(call, compilations):
    call()
    del compilations[:]
    for i in range(1, 4):
        call(
            strength=[0.7, 1 - 0.1 * i],
            original_size=[(16 * i, 7), (9, i)],
            crops_coords_top_left=(i, 2 * i),
            negative_target_size=(64 + i, 64),
            num_inference_steps=5 + i,
            prompt_2=f"cat {i}",
            negative_prompt=None if i == 1 else f"not {i}",
            guidance_scale=[3 + i, 1],
            denoising_end=0.9 - 0.1 * i,
            scheduler=["euler", "ddim", "dpmpp_2m"][i - 1],
        )
    assert not compilations


def test_the_loop_never_calls_the_host(base, images, monkeypatch):
    """What ahead-of-time compilation needs: one program of arrays, with nothing of Python in it."""
    seen, denoise = [], programs.denoise
    monkeypatch.setattr(programs, "denoise", lambda *args: seen.append(args) or denoise(*args))
    base(PROMPTS, images, strength=0.5, num_inference_steps=6, output_type="latent")
    static, mesh, *arrays, partition = seen[0]
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), arrays)
    text = denoise.lower(static, mesh, *shapes, partition).as_text()
    assert "while" in text and "callback" not in text


class TestHandover:
    def test_two_halves_are_the_whole(self, base, call):
        """The same network on both sides, so that nothing should be seen of the seam; also between samplers' scales."""
        for scheduler in ("ddim", "euler"):
            options = dict(scheduler=scheduler, negative_prompt="grey")
            first = call(denoising_end=0.6, strength=1, **options)
            last = call(image=first, denoising_start=0.6, strength=None, **options)
            assert error(last, call(strength=1, **options)) < 1e-4
            assert error(first, last) > 1e-2

    def test_latents_are_decoded_as_pictures_are(self, base, call, images):
        latents = call(strength=0)
        options = dict(strength=[0, 0.5], num_inference_steps=6, output_type="np")
        out = base(PROMPTS, latents, **options)
        noise = base(PROMPTS, images, **options)
        assert out.images.shape == (2, 16, 16, 3)
        np.testing.assert_array_equal(out.latents[0], latents[0])
        np.testing.assert_allclose(out.images[1], noise.images[1], atol=1e-4)
        np.testing.assert_array_equal(noise.images[0], images[0])

    def test_default_strength(self, call):
        np.testing.assert_array_equal(call(strength=None), call(strength=0.8))


BASE = [
    (dict(aesthetic_score=6), "aesthetic_score=6 .*requires_aesthetics_score is False.*leave aesthetic_score out"),
    (dict(original_size=[(1, 2)] * 3), "the batch has 3 samples, but image has 2"),
    (dict(original_size=(1, 2, 3)), r"original_size=\(1, 2, 3\) is not a pair"),
    (dict(prompt=None, prompt_embeds=np.zeros((2, 16, 48))), "prompt_embeds and pooled_prompt_embeds .*both"),
    (dict(negative_pooled_prompt_embeds=np.zeros((2, 12))), "negative_prompt_embeds and negative_pooled_prompt_embeds"),
    (
        dict(prompt=None, prompt_embeds=np.zeros((2, 16, 32)), pooled_prompt_embeds=np.zeros((2, 12))),
        r"prompt_embeds holds rows of shape \(16, 32\).*d = 48",
    ),
    (
        dict(prompt=None, prompt_embeds=np.zeros((2, 16, 48)), pooled_prompt_embeds=np.zeros((2, 16, 12))),
        r"pooled_prompt_embeds holds rows of shape \(16, 12\).*d = 12",
    ),
    (dict(prompt_2=["a", 3]), r"prompt_2\[1\]=3 is not a text"),
    (dict(clip_skip=2), "clip_skip=2 .*0 to 1"),
    (dict(denoising_start=0.5), "strength=0.5 says nothing beside denoising_start=0.5"),
    (dict(denoising_end=0.4), "denoising_end=0.4 stops at training step 600"),
    (dict(strength_mode="exact", strength=None, denoising_start=0.5), "strength_mode='exact'"),
    (dict(image=np.zeros((2, 8, 8, 4)), height=32), "height=32 is given, but latents are not resized"),
    (dict(image=np.full((2, 8, 8, 4), np.nan)), "NaN"),
    (dict(image=np.zeros((2, 8, 8, 5))), r"not \[2, 8, 8, 5\]"),
]


@pytest.mark.parametrize(("arguments", "message"), BASE, ids=[" ".join(arguments) for arguments, _ in BASE])
def test_bad_arguments_of_the_base(call, arguments, message):
    with pytest.raises(ValueError, match=message):
        call(**arguments)


def test_bad_arguments_of_the_refiner(call, refiner):
    for arguments, message in (
        (dict(target_size=(16, 16)), "target_size=.*requires_aesthetics_score is True.*leave target_size out"),
        (dict(prompt_2="a"), "prompt_2='a' .*one text encoder"),
        (dict(aesthetic_score="high"), "aesthetic_score='high' is not a number"),
    ):
        with pytest.raises(ValueError, match=message):
            call(refiner, **arguments)


def test_what_only_sdxl_takes_is_refused_elsewhere(call, other):
    for arguments, message in (
        (dict(original_size=(16, 16)), r"original_size=\(16, 16\) is for SDXL"),
        (dict(negative_aesthetic_score=3), "negative_aesthetic_score=3 is for SDXL"),
        (dict(pooled_prompt_embeds=np.zeros((2, 12))), "pooled_prompt_embeds .*takes no pooled text"),
        (dict(prompt_2="a"), "prompt_2='a' .*one text encoder"),
    ):
        with pytest.raises(ValueError, match=message):
            call(other, **arguments)


def test_networks_that_do_not_fit_together(base, other):
    def assemble(**changes):
        parts = ("vae", "unet", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "scheduler_config")
        return Img2ImgPipeline(**{name: getattr(base, name) for name in parts} | changes)

    with pytest.raises(ValueError, match="text_encoder_2 is missing"):
        assemble(text_encoder_2=None)
    with pytest.raises(ValueError, match="cross_attention_dim=48, .* hidden_size is 16 together"):
        assemble(text_encoder=None)
    with pytest.raises(ValueError, match="embeddings_input_dim=60.* make 52.*requires_aesthetics_score"):
        assemble(requires_aesthetics_score=True)
    with pytest.raises(ValueError, match="none of SDXL"):
        assemble(unet=other.unet)


@pytest.mark.parametrize("kind", ["base", "refiner"])
def test_checkpoints_keep_everything(request, kind, call, tmp_path):
    pipe = request.getfixturevalue(kind)
    pipe.save_pretrained(tmp_path)
    loaded = Img2ImgPipeline.from_pretrained(tmp_path)
    assert isinstance(loaded.text_encoder_2, CLIPTextModelWithProjection)
    assert (loaded.text_encoder is None) == (kind == "refiner") == (not (tmp_path / "text_encoder").exists())
    np.testing.assert_array_equal(call(loaded), call(pipe))
