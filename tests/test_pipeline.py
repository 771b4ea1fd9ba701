"""The laws of strength, and every argument's effect, through the public call."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from img2img_jax import programs, rng
from img2img_jax.checkpoints import CheckpointError
from img2img_jax.diffusion.solvers import SCHEDULERS
from img2img_jax.diffusion.strength import MODES
from img2img_jax.engine import Job
from img2img_jax.models import AutoencoderTiny, AutoencoderTinyConfig
from img2img_jax.pipeline import STRENGTH, Img2ImgPipeline
from img2img_jax.prompts import tokenize
from img2img_jax.sweep import Settings
from img2img_jax.testing.tiny import SCHEDULER_CONFIG, random_images, random_model, tiny_pipeline

PROMPTS = ["a red cat", "a blue dog", "a green cow"]
LATENTS = (3, 8, 8, 4)


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def images():
    """uint8 [3, 16, 16, 3]; every call below has three samples, so that one set of programs serves all."""
    return np.asarray(np.rint(255 * random_images(3)), np.uint8)


@pytest.fixture
def call(pipe, images):
    """Latents of a batch of three, under options that a test changes."""

    def run(**changes):
        options = dict(prompt=PROMPTS, image=images, strength=0.7, num_inference_steps=6, output_type="latent")
        return pipe(**options | changes).latents

    return run


def error(found, wanted):
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


class TestStrengthZero:
    def test_gives_the_input_back_and_runs_no_network(self, pipe, images, monkeypatch):
        for name in ("read_prompts", "encode", "denoise", "decode"):
            monkeypatch.setattr(programs, name, None)
        floats = np.asarray(random_images(3, seed=1))
        pictures = [Image.fromarray(image) for image in images]
        for image, output_type, wanted in (
            (images, "np", images / np.float32(255)),
            (floats, "np", floats),
            (floats.astype(np.float64), "np", floats),
            (images, "pil", images),
            (pictures, "pil", images),
            (pictures[0], "pil", images[:1]),
        ):
            out = pipe("a cat", image, strength=0, output_type=output_type)
            np.testing.assert_array_equal(np.stack([np.asarray(found) for found in out.images]), wanted)
            assert out.latents is None
            assert [start.network_evaluations for start in out.strength] == [0] * len(wanted)

    @pytest.mark.parametrize("output_type", ["np", "pil"])
    def test_in_a_mixed_batch(self, pipe, images, output_type):
        image = images if output_type == "pil" else np.asarray(random_images(3, seed=1))
        out = pipe(PROMPTS, image, strength=[0, 0.5, 0], num_inference_steps=6, output_type=output_type)
        found = np.stack([np.asarray(picture) for picture in out.images])
        np.testing.assert_array_equal(found[[0, 2]], image[[0, 2]])
        assert not np.array_equal(found[1], image[1])

    def test_latents_of_nothing_are_latents(self, call):
        """They lie in 0..1, as a picture does."""
        np.testing.assert_array_equal(call(image=np.zeros(LATENTS), strength=0), 0)

    def test_latents_are_the_encoded_picture(self, pipe, images, call):
        latents = call(strength=0)
        keys = rng.sample_keys([0, 0, 0])
        np.testing.assert_array_equal(
            latents, programs.encode(*pipe._vae, 2 * (images / np.float32(255)) - 1, keys, None)
        )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_both_ends_for_every_sampler_and_mode(call, images, scheduler, mode):
    """One sample stays, two forget their pictures, bit for bit."""
    options = dict(strength=[0, 1, 1], scheduler=scheduler, strength_mode=mode, num_inference_steps=3)
    latents, others = call(**options), call(image=np.roll(images, 1, axis=0), **options)
    assert np.isfinite(latents).all()
    np.testing.assert_array_equal(latents[1:], others[1:])
    np.testing.assert_array_equal(latents[0], call(strength=0)[0])
    assert not np.array_equal(latents[0], others[0])


def test_strength_one_leaks_the_picture_only_when_asked(call, images):
    blank = np.zeros_like(images)
    np.testing.assert_array_equal(call(strength=1), call(strength=1, image=blank))
    assert error(call(strength=1, noise_at_one="leak"), call(strength=1, image=blank, noise_at_one="leak")) > 1e-3


def test_a_batch_equals_its_samples_alone(pipe, images):
    """Prompts, negative prompts, strengths, scales (one of them off) and seeds of each sample, and none other's."""
    options = dict(
        prompt=PROMPTS,
        image=images,
        strength=[0.2, 0.5, 0.8],
        guidance_scale=[4.0, 1.0, 7.5],
        negative_prompt=["ugly", "", "blue"],
        seed=[3, 4, 5],
    )
    shared = dict(num_inference_steps=10, scheduler="euler_a", output_type="np")
    batch = pipe(**options, **shared)
    assert [start.steps for start in batch.strength] == [2, 5, 8]
    for b in range(3):
        alone = pipe(**{name: values[b : b + 1] for name, values in options.items()}, **shared)
        assert error(batch.latents[b], alone.latents[0]) < 1e-4
        np.testing.assert_allclose(batch.images[b], alone.images[0], atol=1e-3)
        assert batch.strength[b] == alone.strength[0]


def test_a_sweep_compiles_nothing_anew(call, compilations):
    call(), call(scheduler="heun"), call(negative_prompt="grey")
    del compilations[:]
    for i, (scheduler, mode) in enumerate(zip([*SCHEDULERS][:10], [*MODES] * 4, strict=False)):
        call(
            strength=[0.1 + 0.1 * i, 1, 0.5],
            num_inference_steps=10 + i,
            guidance_scale=1.5 + i,
            seed=[i, 2 * i, 2**32 - 1 - i],
            prompt=[f"cat {i}", "dog", "dog"],
            negative_prompt=f"not {i}",
            scheduler=scheduler,
            strength_mode=mode,
            noise_at_one="leak" if i % 2 else "pure",
            guidance_rescale=i / 10,
        )
    assert not compilations


class TestGuidance:
    @pytest.fixture
    def prompts_seen(self, monkeypatch):
        """How many prompts per sample the denoiser is given."""
        seen, denoise = [], programs.denoise

        def spy(*args):
            seen.append(args[5].shape[1])
            return denoise(*args)

        monkeypatch.setattr(programs, "denoise", spy)
        return seen

    def test_is_skipped_when_no_scale_is_above_one(self, call, prompts_seen):
        off = call(guidance_scale=[1, 0.5, -2], negative_prompt="grey", guidance_rescale=0.5)
        mixed = call(guidance_scale=[1, 0.5, 7.5], negative_prompt="grey", guidance_rescale=0.5)
        assert prompts_seen == [1, 2]
        assert error(mixed[:2], off[:2]) < 1e-4
        assert error(mixed[2], off[2]) > 1e-2

    def test_follows_scale_negative_prompt_and_rescale(self, call):
        base = call()
        assert error(call(guidance_scale=3.0), base) > 1e-2
        assert error(call(negative_prompt="grey"), base) > 1e-2
        assert error(call(guidance_rescale=0.7), base) > 1e-2
        np.testing.assert_array_equal(call(negative_prompt=""), base)
        # A negative prompt that is the prompt itself leaves nothing to guide by.
        assert error(call(negative_prompt=PROMPTS), call(negative_prompt=PROMPTS, guidance_scale=2.0)) < 1e-4

    def test_embedded_scale_replaces_it(self, images, prompts_seen):
        """LCM: the network is told the scale; negative prompts have no say, and one program serves all scales."""
        pipe = tiny_pipeline(time_cond_proj_dim=8, scheduler_config=SCHEDULER_CONFIG | {"_class_name": "LCMScheduler"})
        options = dict(prompt=PROMPTS, image=images, strength=0.5, num_inference_steps=4, output_type="latent")
        base = pipe(**options, guidance_scale=[7.5, 7.5, 1]).latents
        other = pipe(**options, guidance_scale=[7.5, 2, 1], negative_prompt="grey").latents
        assert prompts_seen == [1, 1]
        assert [error(other[b], base[b]) > 1e-3 for b in range(3)] == [False, True, False]


def states(pipe, prompts):
    """What the text encoder makes of plain prompts."""
    encoder = pipe._conditioner.encoders[0]
    return programs.read_prompts(encoder.graphdef, encoder.state, tokenize(pipe.tokenizer, prompts, 16))[0]


class TestText:
    def test_embeds_stand_for_prompts(self, pipe, call):
        wanted = call(negative_prompt="grey")
        given = dict(prompt=None, prompt_embeds=states(pipe, PROMPTS))
        np.testing.assert_array_equal(call(**given, negative_prompt="grey"), wanted)
        one = states(pipe, ["grey"] * 3)[:1]
        np.testing.assert_array_equal(call(negative_prompt_embeds=one), wanted)

    def test_matters(self, call):
        found, base = call(prompt=[PROMPTS[0], "a house", PROMPTS[2]]), call()
        assert [error(found[b], base[b]) > 1e-3 for b in range(3)] == [False, True, False]

    def test_too_long_a_prompt_is_cut(self, pipe, call):
        long = "abcdefghijklmnopqrstuvwxyz"
        np.testing.assert_array_equal(call(prompt=long), call(prompt=long + " and more"))

    def test_syntax_matters_only_where_there_is_markup(self, call):
        base, read = call(prompt="a (cat) a"), dict(prompt_syntax="a1111")
        np.testing.assert_array_equal(call(**read), call())
        assert error(call(prompt="a (cat) a", **read), base) > 1e-3
        np.testing.assert_array_equal(call(prompt="a (cat:1) a", **read), call(prompt="a cat a"))

    def test_chunks_compile_once_a_count(self, pipe, call, compilations):
        """Prompts and negative prompts of one to three chunks in a batch, each as if it were alone with its like."""
        read = dict(prompt_syntax="a1111", negative_prompt=["a BREAK b BREAK c", "", "x"])
        mixed = call(prompt=["a", "b BREAK c", "abcdefghijklmnopqrst"], **read)
        del compilations[:]
        other = call(prompt=["a", "b BREAK (c:2) BREAK d", "abcdefghijklmnopqrstuv"], **read)
        assert not compilations
        assert [error(other[b], mixed[b]) > 1e-3 for b in range(3)] == [False, True, True]
        empty = "BREAK".join("   ")
        assert error(call(prompt=f"a{empty}BREAK", **read)[0], mixed[0]) < 1e-5

    def test_given_states_of_several_chunks_stand_beside_a_negative_prompt(self, pipe, call):
        given = np.asarray(states(pipe, ["a", "b", ""] * 3)).reshape(3, 48, -1)
        wanted = call(prompt="a BREAK b", negative_prompt="a BREAK b BREAK c", prompt_syntax="a1111")
        found = call(prompt=None, prompt_embeds=given, negative_prompt="a BREAK b BREAK c", prompt_syntax="a1111")
        assert error(found, wanted) < 1e-5
        assert np.isfinite(call(prompt=None, prompt_embeds=given)).all()

    def test_clip_skip_leaves_layers_out(self, call):
        np.testing.assert_array_equal(call(clip_skip=0), call())
        assert error(call(clip_skip=1), call()) > 1e-3


class TestNoise:
    def test_given_is_as_drawn(self, call):
        """Keys and streams, spelt out; steps draw by their own number, whatever the strength."""
        keys = rng.sample_keys([1, 2, 3])
        drawn = {
            f"{name}_noise".replace("start_", ""): np.asarray(rng.normal(rng.stream(keys, stream), LATENTS[1:]))
            for name, stream in (("posterior", "posterior"), ("start", "noise"))
        }
        steps = rng.stream(keys, "step")
        drawn["step_noise"] = np.stack([rng.normal(rng.fold_in(steps, i), LATENTS[1:]) for i in range(6)])
        options = dict(scheduler="euler_a", strength=[0.4, 0.7, 1])
        wanted = call(seed=[1, 2, 3], **options)
        assert error(call(**drawn, **options), wanted) < 1e-5
        for name in drawn:
            changed = call(**drawn | {name: drawn[name][..., ::-1].copy()}, **options)
            reaches = [True, True, name != "posterior_noise"]
            assert [error(changed[b], wanted[b]) > 1e-3 for b in range(3)] == reaches, name

    def test_belongs_to_the_seed(self, call, images):
        same = call(prompt="a cat", image=images[0], seed=[5, 5, 6])
        np.testing.assert_allclose(same[0], same[1], atol=1e-5 * np.abs(same).max())
        assert error(same[2], same[0]) > 1e-2
        np.testing.assert_array_equal(call(seed=5), call(seed=[5, 5, 5]))
        assert error(call(seed=5), call(seed=6)) > 1e-2

    def test_of_steps_is_ignored_by_samplers_without(self, call):
        np.testing.assert_array_equal(call(step_noise=np.zeros((0, *LATENTS))), call())

    def test_eta_is_the_share_of_ancestral_noise(self, call):
        assert error(call(scheduler="ddim", eta=0.5), call(scheduler="ddim")) > 1e-2
        np.testing.assert_array_equal(call(scheduler="ddim", eta=0.0), call(scheduler="ddim"))


def test_scheduler_and_mode_matter(call):
    base = call()
    np.testing.assert_array_equal(call(scheduler="ddim"), base)  # the checkpoint's own
    assert error(call(scheduler="dpmpp_2m"), base) > 1e-3
    assert error(call(strength_mode="exact"), base) > 1e-3
    near = dict(strength_mode="continuous", scheduler="euler")
    assert not np.array_equal(call(strength=0.7, **near), call(strength=0.7001, **near))
    np.testing.assert_array_equal(call(strength=0.7), call(strength=0.7001))  # what truncation cannot tell apart


def test_one_value_serves_all_samples(pipe, call, images):
    lists = call(prompt=["a cat"] * 3, strength=[0.7] * 3, guidance_scale=np.full(3, 4.0), seed=np.full(3, 7))
    np.testing.assert_array_equal(call(prompt="a cat", strength=0.7, guidance_scale=4.0, seed=7), lists)
    repeated = call(prompt="a cat", image=images[:1], seed=[7, 7, 7])
    np.testing.assert_array_equal(call(prompt="a cat", image=images[[0, 0, 0]], seed=7), repeated)


def test_tiles_hardly_matter(pipe, images):
    """Four pictures side by side, in tiles half as large: the same latents and pixels, but for the last digits."""
    image = np.concatenate([np.concatenate([images, images[::-1]], 1), np.concatenate([images[:, ::-1], images], 1)], 2)
    options = dict(strength=0.5, num_inference_steps=2, guidance_scale=1, output_type="np")
    whole, tiled = pipe("a cat", image, **options), pipe("a cat", image, vae_tile_size=24, **options)
    assert 0 < error(tiled.latents, whole.latents) < 1e-2
    assert np.abs(tiled.images - whole.images).max() < 0.05


def test_pictures_are_brought_to_size(pipe, images):
    odd = np.zeros((20, 17, 3), np.uint8)
    assert pipe("a cat", odd, strength=0, output_type="np").images.shape == (1, 20, 16, 3)
    assert pipe("a cat", odd, strength=0, height=8, width=12, output_type="pil").images[0].size == (12, 8)


BAD = [
    (dict(strength=1.5), r"strength 1.5 at index 0 .*\[0, 1\]"),
    (dict(strength=[0.5, float("nan"), 1]), r"strength nan at index 1 .*\[0, 1\]"),
    (dict(strength=[0.5, None, 1]), "strength=None is not a number"),
    (dict(strength=[0.5, 0.6]), "3 samples, but strength has 2"),
    (dict(strength=0.1), "strength 0.1 .*continuous"),
    (dict(strength_mode="late"), "strength_mode='late'.*truncate"),
    (dict(noise_at_one="grey"), "noise_at_one='grey'.*pure"),
    (dict(num_inference_steps=0), "num_inference_steps=0"),
    (dict(scheduler="dimd"), "'dimd'.*ddim"),
    (dict(eta=2.0), r"eta=2.0 .*\[0, 1\]"),
    (dict(scheduler=["ddim"]), r"scheduler \['ddim'\] is not known; choose one of ddim"),
    (dict(eta="x"), "eta='x' is not a number"),
    (dict(eta=0.5, scheduler="euler"), "eta=0.5 .*'euler'.*ddim"),
    (dict(guidance_scale=[1, float("inf"), 2]), r"guidance_scale\[1\]=inf"),
    (dict(guidance_scale="high"), r"guidance_scale\[0\]='high' is not a number"),
    (dict(guidance_rescale=None), "guidance_rescale=None is not a number"),
    (dict(denoising_start=[0.5]), r"denoising_start=\[0.5\] is not a number"),
    (dict(denoising_end="0.5"), "denoising_end='0.5' is not a number"),
    (dict(guidance_rescale=-0.1), r"guidance_rescale=-0.1 .*\[0, 1\]"),
    (dict(prompt=PROMPTS[:2]), "3 samples, but prompt has 2"),
    (dict(prompt=[]), "3 samples, but prompt has 0"),
    (dict(prompt=None), r"prompt\[0\]=None .*prompt_embeds"),
    (dict(prompt=["a", 3, "b"]), r"prompt\[1\]=3 is not a text"),
    (dict(prompt_embeds=np.zeros((3, 16, 32))), "prompt and prompt_embeds are both given"),
    (dict(prompt=None, prompt_embeds=np.zeros((16, 32))), r"prompt_embeds has shape \(16, 32\)"),
    (dict(prompt=None, prompt_embeds=np.zeros((3, 9, 32))), r"\(3, 16, 32\), the prompts' \(3, 9, 32\)"),
    (dict(negative_prompt_embeds=np.zeros((2, 16, 32))), "3 samples, but negative_prompt has 2"),
    (dict(prompt_syntax="compel"), "prompt_syntax='compel'.*plain, a1111"),
    (dict(prompt="a AND b", prompt_syntax="a1111"), "'a AND b' contains 'AND'"),
    (dict(clip_skip=2), "clip_skip=2 .*0 to 1"),
    (dict(clip_skip=None), "clip_skip=None .*0 leaves out none"),
    (dict(vae_tile_size=13), "vae_tile_size=13 .*at least 14 pixels"),
    (dict(seed=-1), r"seed -1 at position 0 .*2\*\*32"),
    (dict(seed=0.5), "seed 0.5"),
    (dict(output_type="jpg"), "output_type='jpg'.*pil"),
    (dict(noise=np.zeros((3, 16, 16, 3))), r"noise has shape \(3, 16, 16, 3\).*\(3, 8, 8, 4\)"),
    (dict(posterior_noise=np.zeros((1, 8, 8, 4))), r"posterior_noise has shape \(1, 8, 8, 4\).*\(3, 8, 8, 4\)"),
    (dict(noise=np.full(LATENTS, np.nan)), "noise holds NaN"),
    (dict(posterior_noise=np.full(LATENTS, np.inf)), "posterior_noise holds NaN or infinity"),
    (dict(image=np.full(LATENTS, 2.0), posterior_noise=np.zeros(LATENTS)), "posterior_noise .*latents are not encoded"),
    (dict(image=np.full(LATENTS, 2.0), resize="pad"), "resize=pad is given, but latents are not resized; leave it out"),
    (dict(image=np.full(LATENTS, 2.0), background="black"), "background=black is given, but latents are not resized"),
    (dict(step_noise=np.full((6, *LATENTS), np.nan), scheduler="euler_a"), "step_noise holds NaN"),
    (dict(image=np.full(LATENTS, np.nan)), "image holds NaN"),
    (dict(image=np.linspace(0, 1, 3 * 16 * 16 * 4).reshape(3, 16, 16, 4)), "image .*0..1; .*RGBA.*PIL.*latents"),
    (dict(prompt=None, prompt_embeds=np.full((3, 16, 32), np.nan)), "prompt_embeds holds NaN"),
    (dict(negative_prompt_embeds=[["x"]]), "negative_prompt_embeds is no array of numbers .*floats"),
    (dict(step_noise=np.zeros((2, *LATENTS)), scheduler="euler_a"), "step_noise has shape .*steps >= 3"),
    (dict(image=np.full((3, 16, 16, 3), 2.0)), r"0..1, not 2.0"),
    (dict(image=None), "image None is no picture; give a path"),
    (dict(height="16"), "height '16' is no whole number of pixels; .*multiple of 2"),
    (dict(image=Image.new("RGB", (16, 16)), background=(0, 0, 0)), r"background \(0, 0, 0\) is no colour; .*white"),
    (dict(height=15), "height 15 .*multiple of 2"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_bad_arguments_are_named_with_the_remedy(call, arguments, message):
    with pytest.raises(ValueError, match=message):
        call(**arguments)


@pytest.mark.parametrize("cls", [Job, Settings])
def test_other_ways_to_call_have_the_same_defaults(cls):
    wanted = {name: knob.default for name, knob in inspect.signature(Img2ImgPipeline.__call__).parameters.items()}
    wanted["strength"] = STRENGTH  # in the call None, as it says nothing beside a denoising_start
    found = {field.name: field.default for field in dataclasses.fields(cls) if field.default is not dataclasses.MISSING}
    assert len(found) > 10 and found == {name: wanted[name] for name in found}


def test_networks_that_do_not_fit_together(pipe):
    with pytest.raises(ValueError, match="in_channels=4.*latent_channels is 5"):
        assemble(pipe, vae=tiny_autoencoder(latent_channels=5))


def assemble(pipe, **changes):
    parts = ("vae", "unet", "text_encoder", "tokenizer", "scheduler_config")
    return Img2ImgPipeline(**{name: getattr(pipe, name) for name in parts} | changes)


def tiny_autoencoder(**changes):
    config = AutoencoderTinyConfig(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        **changes,
    )
    return random_model(AutoencoderTiny, config, np.random.default_rng(0))


def test_tiny_autoencoder(pipe, images):
    """It has no posterior to draw from."""
    other = assemble(pipe, vae=tiny_autoencoder())
    out = other(PROMPTS, images, strength=[0, 0.5, 1], num_inference_steps=6, output_type="np")
    assert out.latents.shape == LATENTS and np.isfinite(out.images).all()
    np.testing.assert_array_equal(out.images[0], images[0] / np.float32(255))
    with pytest.raises(ValueError, match="posterior_noise is given, but an AutoencoderTiny draws none; leave it out"):
        other(PROMPTS, images, posterior_noise=np.ones(LATENTS, np.float32))


@pytest.fixture(scope="module")
def folder(pipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    pipe.save_pretrained(folder)
    return folder


class TestCheckpoint:
    def test_round_trip_gives_the_same_pictures(self, pipe, images, folder):
        options = dict(strength=[0.3, 0.6, 1], num_inference_steps=6, negative_prompt="grey", output_type="np")
        loaded = Img2ImgPipeline.from_pretrained(folder)
        assert loaded.folder == folder and loaded.scheduler_config == SCHEDULER_CONFIG
        np.testing.assert_array_equal(
            loaded(PROMPTS, images, **options).images, pipe(PROMPTS, images, **options).images
        )

    def test_bfloat16(self, pipe, images, folder):
        half = Img2ImgPipeline.from_pretrained(folder, dtype="bfloat16")
        assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(half.unet))} == {jnp.dtype(jnp.bfloat16)}
        options = dict(strength=[0, 0.4, 0.4], num_inference_steps=5, guidance_scale=2.0)
        found = half(PROMPTS, images, output_type="np", **options)
        assert found.latents.dtype == np.float32 and np.isfinite(found.images).all()
        np.testing.assert_array_equal(found.images[0], images[0] / np.float32(255))
        wanted = pipe(PROMPTS, images, output_type="np", **options).latents
        assert 1e-4 < error(found.latents, wanted) < 0.1

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda folder: (folder / "tokenizer").rename(folder / "elsewhere"), "no tokenizer in .*tokenizer"),
            (lambda folder: (folder / "scheduler" / "scheduler_config.json").unlink(), "scheduler_config.json"),
            (lambda folder: (folder / "vae" / "config.json").write_text('{"_class_name": "VQModel"}'), "'VQModel'"),
        ],
        ids=["tokenizer", "scheduler", "vae"],
    )
    def test_what_is_missing_is_named(self, pipe, tmp_path, damage, message):
        pipe.save_pretrained(tmp_path)
        damage(tmp_path)
        with pytest.raises(CheckpointError, match=message):
            Img2ImgPipeline.from_pretrained(tmp_path)

    def test_a_pipeline_is_replaced_however_it_was_saved(self, pipe, tmp_path):
        """Nothing of the first is left that would load."""
        graphdef, state = nnx.split(pipe.unet)
        other = pipe.with_unet(nnx.merge(graphdef, jax.tree.map(lambda leaf: 2 * leaf, state)))
        readers = {"save": Img2ImgPipeline.restore, "save_pretrained": Img2ImgPipeline.from_pretrained}
        for first, second in (("save", "save_pretrained"), ("save_pretrained", "save")):
            folder = tmp_path / first
            getattr(pipe, first)(folder)
            getattr(other, second)(folder)
            found = nnx.state(readers[second](folder).unet)
            jax.tree.map(np.testing.assert_array_equal, found, nnx.state(other.unet))
            with pytest.raises(CheckpointError, match="holds n"):
                readers[first](folder)

    @pytest.mark.parametrize("dtype", ["float16", "fp16", None])  # "fp16" is what diffusers calls the variant
    def test_unsupported_dtype(self, folder, dtype):
        for read in (Img2ImgPipeline.from_pretrained, Img2ImgPipeline.restore):
            with pytest.raises(ValueError, match=f"dtype={dtype!r} is not supported.*'bfloat16'"):
                read(folder, dtype=dtype)

    def test_unsupported_dtype_of_files(self, pipe, tmp_path):
        with pytest.raises(ValueError, match="dtype='fp16' is not supported.*'float16'"):
            pipe.save_pretrained(tmp_path, dtype="fp16")
