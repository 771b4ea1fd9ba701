"""Fine-tuning: what is trained changes, what is not stays, and the loss on the pictures falls."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from img2img_jax import Img2ImgPipeline
from img2img_jax.images import ImageError
from img2img_jax.testing.tiny import random_images, tiny_pipeline, tiny_sdxl_pipeline
from img2img_jax.training.finetune import CaptionedLatents, FineTuneConfig, captioned_inputs, finetune
from img2img_jax.training.lora import EVERY_LAYER, LoraConfig, save_adapters

STEPS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures")
    rows = []
    for i, picture in enumerate(random_images(3)):
        Image.fromarray(np.uint8(picture * 255)).save(path / f"{i}.png")
        rows.append(json.dumps({"file_name": f"{i}.png", "text": f"thing {i}"}))
    (path / "metadata.jsonl").write_text("\n".join(rows))
    return path


def losses(workdir):
    return [row["loss"] for row in map(json.loads, (workdir / "metrics.jsonl").open())]


def leaves(module):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(module))]


@pytest.mark.parametrize("make", [tiny_pipeline, tiny_sdxl_pipeline])
@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2, target_modules=EVERY_LAYER)], ids=["whole", "lora"])
def test_loss_falls_and_the_given_pipeline_stays(make, lora, folder, tmp_path):
    pipe = make()
    before = leaves(pipe.unet)
    config = FineTuneConfig(steps=STEPS, batch_size=2, learning_rate=1e-2, lora=lora, ema_decay=0.8)
    tuned = finetune(pipe, folder, workdir=tmp_path, config=config)
    assert all(np.array_equal(a, b) for a, b in zip(leaves(pipe.unet), before, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(leaves(tuned.pipeline.unet), before, strict=True))
    assert (tuned.adapters is None) == (lora is None)
    first, last = losses(tmp_path)[0], losses(tmp_path)[-1]
    assert last < first


def test_adapters_saved_on_their_own_make_the_tuned_pipeline(folder, tmp_path):
    lora = LoraConfig(rank=2, alpha=3.0, target_modules=EVERY_LAYER)
    pipe = tiny_pipeline()
    config = FineTuneConfig(steps=5, batch_size=2, learning_rate=1e-2, lora=lora)
    tuned = finetune(pipe, folder, workdir=tmp_path / "run", config=config)
    pipe.save_pretrained(tmp_path / "base")
    save_adapters(tmp_path / "style.safetensors", tuned.adapters, lora.scale)
    loaded = Img2ImgPipeline.from_pretrained(tmp_path / "base", loras=[tmp_path / "style.safetensors"])
    for a, b in zip(leaves(loaded.unet), leaves(tuned.pipeline.unet), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_mirrors_captions_and_dropout(folder):
    pipe = tiny_pipeline()
    samples = CaptionedLatents(pipe, captioned_inputs(folder), flip=True)
    assert samples.latents.shape[:2] == (3, 2)
    assert not np.array_equal(samples.latents[:, 0], samples.latents[:, 1])
    assert len(samples.conditions.text) == 4
    always, never = (samples.batches(64, dropout, 0)(0)["conditions"].text for dropout in (1.0, 0.0))
    assert (always == samples.conditions.text[-1]).all()
    assert {row.tobytes() for row in never} == {row.tobytes() for row in samples.conditions.text[:-1]}


def test_errors_name_the_value(folder, tmp_path):
    (tmp_path / "a.png").write_bytes((folder / "0.png").read_bytes())
    with pytest.raises(ValueError, match=r"no caption for \['a.png'\]"):
        finetune(tiny_pipeline(), tmp_path, workdir=tmp_path / "run")
    with pytest.raises(ValueError, match="distilled"):
        finetune(tiny_pipeline(time_cond_proj_dim=8), folder, workdir=tmp_path / "run")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": " "}')
    with pytest.raises(ValueError, match=r"no caption for \['a.png'\]"):
        captioned_inputs(tmp_path)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "b.png", "text": "b"}')
    with pytest.raises(ImageError, match=r"b\.png: no such file"):
        captioned_inputs(tmp_path)
    tiny_pipeline(shallow=True).save_pretrained(tmp_path / "model")
    narrow = Img2ImgPipeline.from_pretrained(tmp_path / "model", dtype="bfloat16")
    with pytest.raises(ValueError, match="weights are bfloat16"):
        finetune(narrow, folder, workdir=tmp_path / "run", config=FineTuneConfig(lora=None))


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"batch_size": 0}, {"checkpoint_every": 0}, {"seed": -1}, {"caption_dropout": 1.5}]
)
def test_numbers_out_of_range_are_refused_before_anything_is_done(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        FineTuneConfig(**wrong)


def test_what_left_no_checkpoint_claims_no_directory(folder, tmp_path):
    pipe = tiny_pipeline(shallow=True)
    config = FineTuneConfig(steps=2, batch_size=2, lora=LoraConfig(rank=2, target_modules="no_such_layer"))
    with pytest.raises(ValueError, match="no_such_layer"):
        finetune(pipe, folder, workdir=tmp_path, config=config)
    config = dataclasses.replace(config, lora=LoraConfig(rank=2), learning_rate=float("nan"))
    with pytest.raises(FloatingPointError, match="at step 2"):
        finetune(pipe, folder, workdir=tmp_path, config=config)
    assert finetune(pipe, folder, workdir=tmp_path, config=dataclasses.replace(config, learning_rate=1e-3))


def test_many_captions_are_read_in_parts(folder, monkeypatch):
    pipe, inputs = tiny_pipeline(), captioned_inputs(folder)
    whole = CaptionedLatents(pipe, inputs, flip=False).conditions.text
    monkeypatch.setattr("img2img_jax.training.finetune.CAPTIONS", 2)
    np.testing.assert_allclose(CaptionedLatents(pipe, inputs, flip=False).conditions.text, whole, atol=1e-6)


def test_a_work_directory_goes_on_with_its_own_training_alone(folder, tmp_path):
    pipe, workdir = tiny_pipeline(shallow=True), tmp_path / "run"
    config = FineTuneConfig(steps=2, batch_size=2, lora=LoraConfig(rank=2))
    more = dataclasses.replace(config, steps=3)
    assert [finetune(pipe, folder, workdir=workdir, config=each).resumed_from for each in (config, more)] == [0, 2]
    files = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}

    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "metadata.jsonl").write_text((folder / "metadata.jsonl").read_text().replace("thing 1", "stuff"))
    kept = {"folder": folder, "config": more}
    for given, named in [
        ({"pipe": tiny_pipeline(shallow=True, seed=1)}, "model"),
        ({"folder": other}, "pictures and captions"),
        ({"config": dataclasses.replace(more, seed=1, learning_rate=1.0)}, "learning_rate, seed"),
        ({"config": dataclasses.replace(more, lora=None)}, "learning_rate, lora"),
        ({"config": config}, "3 steps, and not the 2"),
    ]:
        with pytest.raises(ValueError, match=f"{named} .*another work directory"):
            finetune(**{"pipe": pipe, **kept, **given}, workdir=workdir)
    assert files == {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}

    moved = shutil.copytree(folder, tmp_path / "moved")
    same = dataclasses.replace(more, learning_rate=more.peak_learning_rate, checkpoint_every=1)
    assert finetune(pipe, moved, workdir=workdir, config=same).resumed_from == 3
    (workdir / "run.json").unlink()
    with pytest.raises(ValueError, match="no run.json"):
        finetune(pipe, folder, workdir=workdir, config=more)
