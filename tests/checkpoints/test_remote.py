"""Checkpoints at addresses: copied once, whole, and nothing but what is wanted."""

import fsspec
import numpy as np
import pytest

from img2img_jax import Img2ImgPipeline
from img2img_jax.checkpoints import CheckpointError, resolve
from img2img_jax.checkpoints.remote import fetch, is_address
from img2img_jax.testing.tiny import tiny_pipeline


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "img2img_jax" / "remote"


@pytest.fixture
def bucket():
    """A store in memory, and how many times a file of it was opened."""
    store = fsspec.filesystem("memory")
    store.pipe({f"/bucket/model/{name}": name.encode() for name in ("a.json", "unet/w.safetensors", "unet/w.bin")})
    yield store
    store.rm("/bucket", recursive=True)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("gs://bucket/model", True),
        ("memory://m", True),
        ("owner/name", False),
        ("C:/model", False),
        ("https://m", False),
    ],
)
def test_addresses_begin_with_a_protocol(name, is_one):
    assert is_address(name) == is_one


def test_what_is_wanted_is_copied_once(bucket, cache, monkeypatch):
    folder = fetch("memory://bucket/model", ["*.json", "*/*.safetensors"])
    assert names(folder) == ["a.json", "unet/w.safetensors"]
    assert (folder / "unet/w.safetensors").read_bytes() == b"unet/w.safetensors"
    monkeypatch.setattr(type(bucket), "open", None)  # nothing is fetched from here on
    assert fetch("memory://bucket/model/", ["*.json", "*/*.safetensors"]).is_dir()
    assert fetch("memory://bucket/model", ["*.json", "*/*.safetensors"]) == folder
    assert [path for path in cache.iterdir() if path.name.startswith(".")] == []


def test_what_changes_is_copied_again(bucket):
    before = fetch("memory://bucket/model", ["*.json"])
    bucket.pipe("/bucket/model/a.json", b"another")
    after = fetch("memory://bucket/model", ["*.json"])
    assert [(folder / "a.json").read_bytes() for folder in (before, after)] == [b"a.json", b"another"]


def test_a_single_file_is_a_file(bucket):
    assert resolve("memory://bucket/model/unet/w.safetensors").read_bytes() == b"unet/w.safetensors"
    with pytest.raises(CheckpointError, match="no file of a checkpoint"):
        resolve("memory://bucket/model/unet/w.bin")


def test_a_copy_that_breaks_off_leaves_nothing(bucket, cache, monkeypatch):
    def breaks(self, path, mode):
        raise ConnectionError("gone")

    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="memory://bucket/model.*gone"):
        patch.setattr(type(bucket), "open", breaks)
        fetch("memory://bucket/model", ["*.json"])
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "message"),
    [("memory://bucket/nowhere", "no file of a checkpoint"), ("nosuch://bucket/model", "cannot be read.*nosuch")],
)
def test_what_cannot_be_fetched_is_said(bucket, address, message):
    with pytest.raises(CheckpointError, match=message):
        fetch(address, ["*.json"])


def test_names_that_lead_out_are_refused(bucket, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="outside"):
        patch.setattr(type(bucket), "find", lambda self, root: [root + "/../../escaped.json"])
        fetch("memory://bucket/model", ["*.json"])


def test_a_revision_is_for_the_hub(bucket):
    with pytest.raises(CheckpointError, match="leave it out"):
        resolve("memory://bucket/model", revision="main")


def test_a_pipeline_loads_from_an_address(tmp_path):
    pipe = tiny_pipeline()
    pipe.save_pretrained(tmp_path / "model")
    loaded = Img2ImgPipeline.from_pretrained(f"file://{tmp_path}/model")
    assert dict(loaded.scheduler_config) == dict(pipe.scheduler_config)
    kernel = loaded.unet.conv_in.kernel[...]
    np.testing.assert_array_equal(kernel, pipe.unet.conv_in.kernel[...])
