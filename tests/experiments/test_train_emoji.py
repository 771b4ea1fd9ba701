"""The emoji training from data to a pipeline, in its ``:tiny`` configurations, on a synthetic set."""

import dataclasses
import importlib
import importlib.util
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from flax import nnx

from img2img_jax.checkpoints import load_component
from img2img_jax.data.emoji import LINE_DRAWING, STYLES, EmojiRecord, EmojiSet
from img2img_jax.diffusion.schedule import NoiseSchedule
from img2img_jax.models import AutoencoderKL, AutoencoderKLConfig
from img2img_jax.testing.tiny import SCHEDULER_CONFIG

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "experiments" / "train_emoji"


def tiny_config(stage):
    spec = importlib.util.spec_from_file_location(stage, ROOT / "configs" / f"train_emoji_{stage}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config("tiny")


@pytest.fixture(scope="module")
def emoji():
    """Coloured squares of 24 concepts in every style; every fourth concept is held out."""
    rng, images, records = np.random.default_rng(0), [], []
    for concept in range(24):
        for style in STYLES:
            image = np.full((64, 64, 3), 255, np.uint8)
            image[16:48, 16:48] = rng.integers(0, 255, 3)
            images.append(image)
            split = "unseen_concept" if concept % 4 == 3 else "unseen_style" if concept % 4 == 2 else "train"
            records.append(
                EmojiRecord(
                    concept=f"{concept:x}", name=f"thing {concept}", keywords=("square",), group="Objects",
                    subgroup="other", concept_rank=concept, style=style, source="synthetic", colour="red",
                    colour_share=1.0, coloured=1.0, hue=20.0, concentration=1.0, split=split,
                )
            )  # fmt: skip
    return EmojiSet(images=np.stack(images), records=tuple(records))


@pytest.fixture(scope="module")
def stages():
    sys.path.insert(0, str(FOLDER))
    yield lambda name: importlib.import_module(name)
    sys.path.remove(str(FOLDER))


def test_all_stages_make_a_pipeline_that_runs(tmp_path, emoji, stages):
    from img2img_jax import Img2ImgPipeline
    from img2img_jax.data.tokenizer import ClipTokenizer

    tokenizer, model = ClipTokenizer.load(FOLDER / "tokenizer"), tmp_path / "model"
    export = stages("export")
    flags.FLAGS(["export", f"--model={model}"])

    def train(stage, name=None, **extra):
        config, workdir = tiny_config(stage), tmp_path / (name or stage)
        workdir.mkdir()
        kept = json.loads(config.to_json_best_effort()) | {k: str(v) for k, v in extra.items() if k == "init"}
        (workdir / "config.json").write_text(json.dumps(kept))
        stages(f"{config.stage}_stage").train(config, emoji, tokenizer, workdir, **extra)
        log = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
        assert all(np.isfinite(list(line.values())).all() for line in log)
        return set().union(*log)

    for stage in ("clip", "score"):
        assert {"top1", "eval/top1/unseen_style", "eval/top1/unseen_concept"} <= train(stage)
    assert {"psnr", "eval/psnr"} <= train("vae")
    export.export_text_encoder(str(tmp_path / "clip"), emoji, model)
    export.export_score(str(tmp_path / "score"), model)
    export.export_vae(str(tmp_path / "vae"), emoji, model)
    assert {"loss/0", "loss/3", "eval/train/gap900", "eval/unseen_concept/loss"} <= train("unet", model=model)
    assert list((tmp_path / "unet").glob("preview_*.png"))
    export.export_unet(str(tmp_path / "unet"), model)

    assert {"concept", "eval/concept_top1", "eval/style"} <= train("judge")
    concepts, styles = stages("picture_judge").PictureJudge(tmp_path / "judge")(emoji.images[:3])
    assert (concepts.shape, styles.shape) == ((3, 24), (3, len(STYLES)))
    np.testing.assert_allclose(np.exp(styles).sum(-1), 1, rtol=1e-5)

    assert {"distance_to_picture", "eval/rms_to_teacher"} <= train("lcm", model=model)
    assert list((tmp_path / "lcm").glob("preview_*.png"))
    export.export_unet(str(tmp_path / "lcm"), model.with_name("lcm"), parts_of=model)
    few = Img2ImgPipeline.from_pretrained(model.with_name("lcm"))
    assert few.unet.config.time_cond_proj_dim == tiny_config("lcm").model.time_cond_proj_dim
    drawn = few("red thing", emoji.images[:1], strength=1.0, num_inference_steps=4, output_type="np").images
    assert np.isfinite(drawn).all()

    train("vae", "decoder", init=model)
    export.export_vae(str(tmp_path / "decoder"), emoji, sharper := model.with_name("sharper"))
    before, after = (load_component(AutoencoderKL, folder / "vae", dtype=np.float32) for folder in (model, sharper))
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), nnx.state(before), nnx.state(after))
    assert not any(jax.tree.leaves([moved["encoder"], moved["quant_conv"]])), "the UNet's latents stay as they were"
    assert any(jax.tree.leaves(moved["decoder"]))

    pipe = Img2ImgPipeline.from_pretrained(model)
    # The student of a teacher that has learnt nothing since has nothing to be given.
    again = stages("lcm_stage").initial_student(pipe.unet, 64, model.with_name("lcm"), model)
    jax.tree.map(np.testing.assert_array_equal, nnx.state(again), nnx.state(few.unet))
    config, initial = tiny_config("unet"), stages("unet_stage").initial_unet
    same, told = (initial(config, NoiseSchedule.from_config(c), model) for c in (config.scheduler, SCHEDULER_CONFIG))
    jax.tree.map(np.testing.assert_array_equal, nnx.state(same), nnx.state(pipe.unet))
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), nnx.state(told), nnx.state(pipe.unet))
    assert jax.tree.leaves(moved.pop("time_embedding")["linear_2"]) == [True] * 2, "only the schedule is another"
    assert not any(jax.tree.leaves(moved))
    out = pipe("red thing, flat style", emoji.images[:1], strength=0.5, num_inference_steps=4, output_type="np")
    assert out.images.shape == (1, 64, 64, 3)
    assert np.isfinite(out.images).all()


def test_captions_to_choose_from_are_all_different(emoji, stages):
    """Two drawings of one thing share a caption, and neither may be counted wrong for it."""
    index = [4, 0, 4, 9]
    captions, own = stages("batches").captions_to_choose_from(emoji, index, 20)
    assert len(set(captions)) == 20
    assert [captions[k] for k in own] == [stages("batches").canonical(emoji.records[i]) for i in index]


def test_traced_pictures_are_captioned_as_line_drawings(emoji, stages):
    pictures, captions = stages("batches").pictures_at(emoji, batch_size=32, traced_share=1.0, more_captions=5)(0)
    assert len(captions) == 37
    assert {caption.split(", ")[-1] for caption in captions[:32]} & set(STYLES) == {LINE_DRAWING}
    drawn = pictures[[k for k, caption in enumerate(captions[:32]) if caption.endswith(LINE_DRAWING)]]
    assert (drawn[..., 0] == drawn[..., 1]).mean() > 0.8, (
        "all but the line drawings of the set, which are coloured here"
    )


def test_drawings_that_are_held_out_are_not_traced_from_other_pictures(emoji, stages):
    """Else a CLIP that learns from traced copies is tested on what it was shown."""
    held = {"0", "1"}
    records = tuple(
        dataclasses.replace(r, split="unseen_style") if r.concept in held and r.style == LINE_DRAWING else r
        for r in emoji.records
    )
    drawn = stages("batches").pictures_at(
        dataclasses.replace(emoji, records=records), batch_size=256, traced_share=1.0
    )(0)[1]
    lines = {caption.split(",")[0] for caption in drawn if caption.endswith(LINE_DRAWING)}
    assert lines and not lines & {"thing 0", "thing 1"}
    assert {caption.split(",")[0] for caption in drawn} >= {"thing 0", "thing 1"}


def test_a_run_resumes_with_what_it_began_with_alone(tmp_path, stages):
    keep, config = stages("run_config").keep_run_config, tiny_config("vae")
    keep(tmp_path, config, {"init": None})
    keep(tmp_path, config, {"init": Path("/a")})
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    with pytest.raises(ValueError, match="another init: /a"):
        keep(tmp_path, config, {"init": None})
    with config.unlocked():
        config.model.norm_num_groups = 16
    with pytest.raises(ValueError, match="another model"):
        keep(tmp_path, config, {"init": Path("/a")})
    assert json.loads((tmp_path / "config.json").read_text())["init"] == "/a"


def test_latents_are_those_of_the_pictures_at_hand(tmp_path, emoji, stages, monkeypatch):
    module = stages("latent_cache")
    monkeypatch.setattr(module, "encode_pictures", lambda _, pictures: pictures[:, :1, :1])
    tiny = AutoencoderKL(AutoencoderKLConfig(block_out_channels=(32,), layers_per_block=1), rngs=nnx.Rngs(0))
    dark = dataclasses.replace(emoji, images=emoji.images // 2)
    latents = [module.LatentCache(tmp_path, pictures, tiny, 0, 1).latents for pictures in (emoji, dark, emoji)]
    assert [int(found.max()) for found in latents] == [255, 127, 255]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_picture_is_asked_for_from_its_counterparts_alone(emoji, stages):
    """The same thing in another style; from nearly all noise levels only where the lines are the same."""
    counterparts = stages("counterparts")
    first = [record for record in emoji.records if record.concept == "0"]
    flat, solid, other, line = (
        dataclasses.replace(first[0], style=style, source=source)
        for style, source in zip(
            ("flat style", "3d style", "cartoon style", LINE_DRAWING), ("a-flat", "a", "b", "a-flat"), strict=True
        )
    )
    alone = dataclasses.replace(flat, concept="1")
    found = counterparts.Counterparts([flat, solid, other, line, line, alone])
    rng = np.random.default_rng(0)
    same, apart, filled = counterparts.SAME_OUTLINE, counterparts.OTHER_OUTLINE, counterparts.FILLED_IN
    assert {found.draw(0, rng) for _ in range(64)} == {(1, same), (2, apart), (3, filled), (4, filled)}
    assert {found.draw(2, rng) for _ in range(64)} == {(0, apart), (1, apart)}, "no drawing of another's lines"
    assert {found.draw(3, rng) for _ in range(64)} == {(0, same), (1, same), (2, apart)}
    assert found.draw(5, rng) == (5, counterparts.NO_RAMP)


def test_batches_show_every_style_alike_and_a_share_as_drawn(tmp_path, emoji, stages, monkeypatch):
    """Half of the pictures are line drawings here, yet each style is drawn as often; variant 0 is the one as drawn."""
    cache_of = stages("latent_cache").LatentCache

    def tokenizer(texts):
        return [[STYLES.index(style) if (style := text.split(", ")[-1]) in STYLES else -1] for text in texts]

    plain = [i for i in emoji.select(split="train") if emoji.records[i].style != LINE_DRAWING]
    lines = [i for i in emoji.select(split="train") if emoji.records[i].style == LINE_DRAWING]
    index = np.asarray(lines * 4 + plain)
    monkeypatch.setattr(EmojiSet, "select", lambda *_, **__: index)

    def marked(self, vae, variants):
        where = np.indices((variants, len(index))).transpose(1, 2, 0)[:, :, None, None]
        return where.astype(np.float16), np.full(where.shape[:2], "")

    monkeypatch.setattr(cache_of, "_encode", marked)
    tiny = AutoencoderKL(AutoencoderKLConfig(block_out_channels=(32,), layers_per_block=1), rngs=nnx.Rngs(0))
    cache = cache_of(tmp_path, emoji, tiny, 0, 4)
    batch_at = cache.batches(tokenizer, 64, 0.0, unchanged=0.5)
    seen = np.concatenate([batch_at(step)["latents"][:, 0, 0] for step in range(64)]).astype(int)
    styles = [emoji.records[index[picture]].style for picture in seen[:, 1]]
    assert all(abs(styles.count(style) / len(styles) - 1 / len(STYLES)) < 0.03 for style in STYLES)
    assert abs((seen[:, 0] == 0).mean() - (0.5 + 0.5 / 4)) < 0.03
    np.testing.assert_array_equal(batch_at(3)["latents"], batch_at(3)["latents"])

    restyled = cache.batches(tokenizer, 64, 0.5, unchanged=0.5, restyled=0.25)(0)
    assert len({*restyled["latents"][:16, 0, 0, 0].tolist()}) > 1, "as drawn and moved"
    wanted, begun = (restyled[name][:, 0, 0].astype(int) for name in ("latents", "start"))
    assert (restyled["ramp"][:, 1] > 0).tolist() == [True] * 16 + [False] * 48
    assert (begun[16:] == wanted[16:]).all()
    pairs = zip(wanted[:16], begun[:16], restyled["input_ids"][:16], strict=True)
    for (variant, picture), (other_variant, other), (style,) in pairs:
        one, two = emoji.records[index[picture]], emoji.records[index[other]]
        assert (one.concept, variant) == (two.concept, other_variant)
        assert one.style == STYLES[style] != two.style


def test_all_pictures_of_a_concept_are_moved_alike(tmp_path, emoji, stages, monkeypatch):
    """So that one can be asked for from another: the squares of a concept stay in one place, whatever their colours."""
    module = stages("latent_cache")
    monkeypatch.setattr(module, "encode_pictures", lambda _, pictures: (pictures < 250).any(-1, keepdims=True))
    tiny = AutoencoderKL(AutoencoderKLConfig(block_out_channels=(32,), layers_per_block=1), rngs=nnx.Rngs(0))
    cache = module.LatentCache(tmp_path, emoji, tiny, 0, 3)
    concepts = [emoji.records[i].concept for i in cache.index]
    first = cache.latents[:, [concepts.index(concept) for concept in concepts]]
    assert (cache.latents != first).mean() < 0.005, "but for what a colour does to the edges"
    assert (cache.latents[0] == cache.latents[0, 0]).all()
    assert (cache.latents[1] != cache.latents[0]).mean() > 0.02, "variants are moved"
    assert set(cache.colours[0]) == {""} and len(set(cache.colours[1])) > 2
