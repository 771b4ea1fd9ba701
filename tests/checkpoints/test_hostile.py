"""Broken and hostile checkpoints: some 400 cases, each a clear error; nothing is run, nothing is written."""

import dataclasses
import io
import json
import os
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from img2img_jax import models
from img2img_jax.checkpoints import CheckpointError, fill, load_component, open_checkpoint, save_component
from img2img_jax.checkpoints.lora import read_lora
from img2img_jax.checkpoints.stored_component import StoredComponent
from img2img_jax.diffusion.scheduler import Scheduler
from img2img_jax.testing.tiny import SCHEDULER_CONFIG

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def cases(count):
    """As many examples as named, the same in every run."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def contents(folder):
    return {
        path: (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None) for path in folder.rglob("*")
    }


def refused(folder, message=""):
    """Loading fails with the project's error and leaves everything as it was."""
    before = contents(folder.parent)
    with pytest.raises(CheckpointError, match=message or None) as caught:
        load_component(models.CLIPTextModel, folder)
    assert str(caught.value) and contents(folder.parent) == before


@pytest.fixture(scope="module")
def intact(text_model, tmp_path_factory):
    """The text model, saved once; what a case needs changed is written to a copy."""
    folder = tmp_path_factory.mktemp("intact") / "text_encoder"
    save_component(text_model, folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def place(intact, tmp_path):
    """Writes a component's folder afresh, with other bytes for some files (None leaves one out)."""

    def place(**changes):
        folder = tmp_path / "text_encoder"
        folder.mkdir(exist_ok=True)
        for name, content in (intact | {key.replace("__", "."): value for key, value in changes.items()}).items():
            (folder / name).unlink(missing_ok=True)
            if content is not None:
                (folder / name).write_bytes(content)
        return folder

    return place


def split(content):
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header, data):
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


@cases(40)
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated_files(place, intact, share):
    content = intact[WEIGHTS]
    refused(place(model__safetensors=content[: int(share * len(content))]), WEIGHTS)


LIES = st.one_of(
    st.tuples(st.just("dtype"), st.sampled_from(["F16", "F64", "I32", "BOOL", "X9", "", None, 7, ["F32"]])),
    st.tuples(st.just("shape"), st.lists(st.sampled_from([-1, 0, 1, 3, 2**31, 2**63, 10**30, 1.5, None]), max_size=4)),
    st.tuples(
        st.just("data_offsets"),
        st.lists(st.sampled_from([-8, 0, 4, 8, 10**6, 2**63, 10**30, 0.5, None, "0"]), max_size=3),
    ),
)


@cases(60)
@given(which=st.integers(0, 10**6), lie=LIES)
def test_headers_that_lie(place, intact, which, lie):
    header, data = split(intact[WEIGHTS])
    keys = sorted(key for key in header if key != "__metadata__")
    entry = header[keys[which % len(keys)]]
    field, value = lie
    if entry[field] == value:
        return
    entry[field] = value
    refused(place(model__safetensors=joined(header, data)))


@cases(40)
@given(position=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_flipped_bytes_of_the_header(place, intact, position, byte):
    """Refused, or harmless: what loads is finite and of the right shapes."""
    content = bytearray(intact[WEIGHTS])
    (length,) = struct.unpack("<Q", content[:8])
    place_of_byte = int(position * (8 + length))
    content[place_of_byte] = byte
    folder = place(model__safetensors=bytes(content))
    try:
        load_component(models.CLIPTextModel, folder)
    except CheckpointError:
        pass


@pytest.mark.parametrize("length", [0, 1, 2**20, 100 * 2**20 + 1, 2**40, 2**63, 2**64 - 1])
def test_headers_of_absurd_length(place, intact, length):
    refused(place(model__safetensors=struct.pack("<Q", length) + intact[WEIGHTS][8:]), WEIGHTS)


def test_tensors_that_overlap_or_are_there_twice(place, intact):
    header, data = split(intact[WEIGHTS])
    first, second = sorted(key for key in header if key.endswith("layer_norm1.bias"))[:2]
    overlapping = header | {first: header[second]}
    refused(place(model__safetensors=joined(overlapping, data)))
    twice = json.dumps(header)[:-1] + f', "{first}": {json.dumps(header[first])}}}'
    refused(place(model__safetensors=joined(twice.encode(), data)))


class Payload:
    """A pickle that makes a file when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("zipped", [False, True])
def test_pickles_under_another_name_are_not_opened(place, tmp_path, protocol, zipped):
    content = pickle.dumps(Payload(tmp_path / "executed"), protocol)
    if zipped:  # PyTorch's container
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("archive/data.pkl", content)
        content = buffer.getvalue()
    refused(place(model__safetensors=content), WEIGHTS)
    refused(place(model__safetensors=None, pytorch_model__bin=content), "pickles can run code")
    assert not (tmp_path / "executed").exists()


HOSTILE_JSON = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b'{"a": 1, "a": 2}',
    b'{"a": {"b": 1, "b": 1}}',
    b'{"a": NaN}',
    b'{"a": ' + b"9" * 5000 + b"}",
    b'{"a":' * 100_000,
    b"[" * 100_000,
    b'{"a": "\\ud800"',
    pickle.dumps({"a": 1}),
]


@pytest.mark.parametrize("content", HOSTILE_JSON, ids=lambda content: repr(content[:12]))
@pytest.mark.parametrize("name", ["config__json", INDEX.replace(".", "__")])
def test_hostile_json(place, content, name):
    refused(place(**{name: content}), name.replace("__", ".").split(".")[0])


CONFIGS = {
    models.CLIPTextModel: {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2},
    models.UNet2DConditionModel: {
        "block_out_channels": [32],
        "down_block_types": ["CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D"],
        "layers_per_block": 1,
    },
    models.AutoencoderKL: {"block_out_channels": [32]},
    models.AutoencoderTiny: {"num_encoder_blocks": [1] * 4, "num_decoder_blocks": [1] * 4},
}
FIELDS = [(model, field.name) for model in CONFIGS for field in dataclasses.fields(model.config_class)]
VALUES = [10**9, 10**30, -1, 0, 1e308, float("inf"), "x", "", [], [10**9], [[1]], {}, [None], ["x"] * 1000, {"a": 1}]


@cases(120)
@given(field=st.sampled_from(FIELDS), value=st.sampled_from(VALUES))
def test_hostile_configurations(tmp_path, field, value):
    """None builds a model: those that could be built have no tensors."""
    model_class, name = field
    stored = StoredComponent(config=CONFIGS[model_class] | {name: value}, tensors={}, origin=tmp_path)
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        fill(model_class, stored)


@pytest.mark.parametrize("value", [10**9, 257, [10**9] * 4, [1, 1, 1, 10**9]])
@pytest.mark.parametrize(
    ("model_class", "name"),
    [(model, name) for model in CONFIGS for name in sorted(model.config_class.counts)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_absurd_numbers_of_layers_are_refused_before_anything_is_built(monkeypatch, tmp_path, model_class, name, value):
    monkeypatch.setattr(model_class, "__init__", lambda *_, **__: pytest.fail("the model is being built"))
    stored = StoredComponent(config=CONFIGS[model_class] | {name: value}, tensors={}, origin=tmp_path)
    with pytest.raises(CheckpointError, match=f"{name}=.* is out of range"):
        fill(model_class, stored)


@pytest.mark.parametrize(
    "change",
    [
        {"_class_name": []},
        {"num_train_timesteps": 10**12},
        {"num_train_timesteps": "9"},
        {"num_train_timesteps": True},
        {"beta_start": "0"},
        {"beta_start": -1},
        {"beta_start": None},
        {"beta_end": 10**9},
        {"beta_end": float("inf")},
        {"beta_schedule": {}},
        {"trained_betas": 3},
        {"trained_betas": ["x"] * 1000},
        {"trained_betas": [2.0] * 1000},
        {"prediction_type": []},
        {"timestep_spacing": 5},
    ],
    ids=str,
)
def test_hostile_schedulers(change):
    with pytest.raises(ValueError):
        Scheduler.from_config(SCHEDULER_CONFIG | change)


NAMES = ["../a", "..", "/etc/passwd", "a/../../b", "C:\\a", "~/a", "a\0b", "", ".", " ", "a\n", "-", "\u2024\u2024/a"]


@cases(40)
@given(stem=st.one_of(st.sampled_from(NAMES), st.text(max_size=8)), ending=st.sampled_from(["", ".safetensors"]))
def test_indices_that_lead_elsewhere(place, stem, ending):
    index = {"weight_map": {"text_model.final_layer_norm.bias": stem + ending}}
    refused(place(**{INDEX.replace(".", "__"): json.dumps(index).encode()}), "index.json")


def test_missing_shards(place, text_model):
    folder = place(model__safetensors=None)
    save_component(text_model, folder, max_shard_size=1000)
    for shard in sorted(folder.glob("*.safetensors")):
        content = shard.read_bytes()
        shard.unlink()
        refused(folder, f"{shard.name}, which is missing")
        shard.write_bytes(content)


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "dangling"])
def test_what_is_no_regular_file(place, name, kind):
    folder = place(**{name.replace(".", "__"): None})
    make = {
        "pipe": os.mkfifo,
        "folder": os.mkdir,
        "device": lambda path: os.symlink("/dev/zero", path),
        "dangling": lambda path: os.symlink("/nowhere", path),
    }
    make[kind](folder / name)
    refused(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2])
@pytest.mark.parametrize("last", [False, True])
def test_weights_that_are_not_finite(place, value, dtype, last):
    folder = place()
    tensors = {key: values.astype(dtype) for key, values in load_file(folder / WEIGHTS).items()}
    key = sorted(tensors)[-1 if last else 0]
    tensors[key].reshape(-1)[-1] = value
    save_file(tensors, folder / WEIGHTS)
    refused(folder, "not finite")


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.bool_, np.complex64])
def test_tensors_that_are_no_numbers_of_a_network(place, dtype):
    folder = place()
    tensors = load_file(folder / WEIGHTS)
    key = sorted(tensors)[0]
    tensors[key] = np.zeros(tensors[key].shape, dtype)
    save_file(tensors, folder / WEIGHTS)
    refused(folder, "stored as")


@cases(20)
@given(shape=st.lists(st.integers(0, 4), max_size=5), which=st.integers(0, 100))
def test_tensors_of_other_shapes(place, shape, which):
    folder = place()
    tensors = load_file(folder / WEIGHTS)
    key = sorted(tensors)[which % len(tensors)]
    tensors[key] = np.zeros(shape, np.float32)
    save_file(tensors, folder / WEIGHTS)
    refused(folder, "misshapen")


@cases(20)
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated_single_files_and_loras(intact, tmp_path, share):
    content = intact[WEIGHTS]
    file = tmp_path / "x.safetensors"
    file.write_bytes(content[: int(share * len(content))])
    for opened in (open_checkpoint, read_lora):
        with pytest.raises(CheckpointError, match="x.safetensors"):
            opened(file)


@pytest.mark.parametrize("entry", ["../../evil", ["../../evil", "Evil"], {"a": []}, None, 7, ["os", "system"]])
def test_an_index_of_the_pipeline_names_no_paths(intact, tmp_path, entry):
    """What it says of a component is never a place to look for it, nor a class to import."""
    folder = tmp_path / "model"
    for name in ("unet", "vae", "text_encoder"):
        (folder / name).mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"unet": entry, "text_encoder": entry}))
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match="scheduler_config.json is missing"):
        open_checkpoint(folder)
    assert contents(tmp_path) == before
