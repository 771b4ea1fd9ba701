"""Parameters survive the trip through a PNG file, whatever is in them."""

import dataclasses
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from img2img_jax import metadata
from img2img_jax.images import ImageError
from img2img_jax.metadata import MetadataError, Parameters

PARAMETERS = Parameters(
    image="/pictures/in.png",
    image_sha256="ab" * 32,
    resize="crop",
    height=64,
    width=96,
    background="white",
    prompt="a red apple",
    negative_prompt=None,
    strength=0.1 + 0.2,  # not a short decimal: must come back to the bit
    strength_mode="truncate",
    noise_at_one="pure",
    seed=2**32 - 1,
    num_inference_steps=50,
    guidance_scale=7.5,
    scheduler=None,
    model=None,
    revision=None,
    variant=None,
    dtype="float32",
    weights_sha256="cd" * 32,
    batch_size=4,
    batch_index=3,
    start={"timestep": 301.0, "log_snr": -1.25, "steps": 15, "pure": False},
    versions={"jax": "0.10.2"},
)


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))


def _round_trip(path, picture, parameters):
    metadata.write_png(path, picture, parameters)
    return metadata.read_parameters(path)


def test_everything_comes_back_and_the_pixels_too(tmp_path, picture):
    assert _round_trip(tmp_path / "a.png", picture, PARAMETERS) == PARAMETERS
    with Image.open(tmp_path / "a.png") as written:
        assert np.array_equal(np.asarray(written), np.asarray(picture))


AWKWARD_PROMPTS = [
    "@prompts.txt",
    "two\nlines\r\n\ttab",
    "",
    " padded ",
    '"quoted" \\ {json: 1}',
    "--strength",
    "ein Apfel, größer",
    "リンゴ 🍎",
    "NUL \0 inside",
    "broken \udcff byte",
    "x" * 100_000,
]


@pytest.mark.parametrize("prompt", AWKWARD_PROMPTS)
def test_prompts_survive(tmp_path, picture, prompt):
    parameters = dataclasses.replace(PARAMETERS, prompt=prompt, negative_prompt=prompt)
    assert _round_trip(tmp_path / "a.png", picture, parameters) == parameters


@pytest.mark.parametrize("log_snr", [math.inf, -math.inf])
def test_infinite_log_snr_is_valid_json(tmp_path, picture, log_snr):
    parameters = dataclasses.replace(PARAMETERS, start={"log_snr": log_snr})
    assert _round_trip(tmp_path / "a.png", picture, parameters) == parameters
    with Image.open(tmp_path / "a.png") as written:
        json.loads(written.text["img2img"], parse_constant=pytest.fail)


def test_summary_is_for_people(tmp_path, picture):
    parameters = dataclasses.replace(PARAMETERS, prompt="リンゴ", negative_prompt="blurry", strength=0.6)
    metadata.write_png(tmp_path / "a.png", picture, parameters)
    with Image.open(tmp_path / "a.png") as written:
        lines = written.text["parameters"].splitlines()
    assert lines[:2] == ["リンゴ", "Negative prompt: blurry"]
    settings = lines[2].split(", ")
    assert {"Steps: 50", "Seed: 4294967295", "Size: 96x64", "Denoising strength: 0.6"} <= set(settings)
    assert {"Model: embedded", "Start timestep: 301.0"} <= set(settings)


def test_parameters_behind_the_pixels_are_found(tmp_path, picture):
    """Some editors move text chunks to the end of the file."""
    metadata.write_png(tmp_path / "a.png", picture, PARAMETERS)
    data = (tmp_path / "a.png").read_bytes()
    start = data.index(b"tEXtimg2img") - 4
    end = start + int.from_bytes(data[start : start + 4]) + 12
    tail = data.index(b"IEND") - 4
    (tmp_path / "b.png").write_bytes(data[:start] + data[end:tail] + data[start:end] + data[tail:])
    assert metadata.read_parameters(tmp_path / "b.png") == PARAMETERS


def test_files_without_parameters(tmp_path, picture):
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "a.jpg")
    for name in ("a.png", "a.jpg"):
        with pytest.raises(MetadataError, match=f"{name}: carries no img2img parameters"):
            metadata.read_parameters(tmp_path / name)
    with pytest.raises(ImageError, match="gone.png: no such file"):
        metadata.read_parameters(tmp_path / "gone.png")


UNREADABLE = ["{", "{}", "[]", '{"format": 1, "start": {}}', '{"format": 2}', '{"format": 1, "start": 3}']


@pytest.mark.parametrize("text", UNREADABLE)
def test_unreadable_parameters(tmp_path, picture, text):
    info = PngInfo()
    info.add_text("img2img", text)
    picture.save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(MetadataError, match="a.png: its img2img parameters cannot be read"):
        metadata.read_parameters(tmp_path / "a.png")


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path, picture):
    metadata.write_png(tmp_path / "a.png", picture, PARAMETERS)
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(ValueError):
        metadata.write_png(tmp_path / "a.png", picture, dataclasses.replace(PARAMETERS, strength=math.nan))
    with pytest.raises(OSError):
        metadata.write_png(tmp_path / "a.png", Image.new("LAB", (2, 2)), PARAMETERS)  # PNG cannot hold it
    assert (tmp_path / "a.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_folder_digest_sees_weights_and_configs_and_nothing_else(tmp_path):
    (tmp_path / "unet").mkdir()
    weights = tmp_path / "unet" / "model.safetensors"
    weights.write_bytes(b"1")
    (tmp_path / "model_index.json").write_text("{}")
    first = metadata.weights_sha256(tmp_path)
    (tmp_path / "README.md").write_text("a card may be edited")
    assert metadata.weights_sha256(tmp_path) == first
    weights.write_bytes(b"2")
    second = metadata.weights_sha256(tmp_path)
    weights.rename(tmp_path / "model.safetensors")
    assert len({first, second, metadata.weights_sha256(tmp_path)}) == 3


def test_folder_digest_sees_only_what_a_pipeline_loads(tmp_path):
    loaded = ["unet/config.json", "vae/a.safetensors", "text_encoder_2/config.json", "tokenizer/merges.txt"]
    loaded += ["scheduler/scheduler_config.json", "model_index.json"]
    others = [
        "evaluation.json",
        "clip/config.json",
        "clip/model.safetensors",
        "safety_checker/config.json",
        "all.safetensors",
    ]
    for name in [*loaded, *others]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    seen = [metadata.weights_sha256(tmp_path)]
    for name in others:
        (tmp_path / name).write_text("2")
    assert metadata.weights_sha256(tmp_path) == seen[0]
    for name in loaded:
        (tmp_path / name).write_text("2")
        seen.append(metadata.weights_sha256(tmp_path))
    assert len(set(seen)) == len(loaded) + 1


def test_digest_of_a_tokenizer_or_vae_folder_sees_all_of_it(tmp_path):
    (tmp_path / "vocab.json").write_text("1")
    first = metadata.weights_sha256("a/hub-id", [tmp_path])
    (tmp_path / "vocab.json").write_text("2")
    assert metadata.weights_sha256("a/hub-id", [tmp_path]) != first


@pytest.mark.parametrize("given", ["{home}/models--x/snapshots/0123abc", "~/models--x/snapshots/0123abc"])
def test_a_snapshot_that_was_given_as_a_path_has_no_revision(tmp_path, monkeypatch, given):
    """Path and revision together would be refused when the picture is repeated."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "models--x" / "snapshots" / "0123abc"
    folder.mkdir(parents=True)
    given = dict(model=given.format(home=tmp_path), revision=None, variant=None, dtype="float32")
    found = metadata.provenance(folder, **given, resize="crop", background="white")
    assert (found["model"], found["revision"]) == (str(folder), None)
    found = metadata.provenance(folder, **given | {"model": "hub/x"}, resize="crop", background="white")
    assert (found["model"], found["revision"]) == ("hub/x", "0123abc")


@pytest.mark.parametrize(
    ("lora", "wanted"),
    [
        ("a.safetensors", ("a.safetensors", 1.0)),
        ("a.safetensors:-0.5", ("a.safetensors", -0.5)),
        ("C:\\a.safetensors", ("C:\\a.safetensors", 1.0)),
        (Path("b/a.safetensors"), ("b/a.safetensors", 1.0)),
        (("a:0.3", 0.5), ("a:0.3", 0.5)),
        ((Path("a"), 2), ("a", 2)),
    ],
)
def test_loras_are_split_and_put_together_again(lora, wanted):
    path, weight = metadata.split_lora(lora)
    assert (path, weight) == wanted
    text = metadata.with_absolute_path(path, weight)
    assert os.path.isabs(text) and metadata.split_lora(text) == (os.path.abspath(path), weight)


def test_versions_name_the_arithmetic():
    assert {"jax", "jaxlib", "numpy"} <= metadata.package_versions().keys()
