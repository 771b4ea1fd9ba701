import json
import struct

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from img2img_jax.checkpoints import CheckpointError
from img2img_jax.checkpoints.safetensors_file import PendingTensor, stored_tensors, write_safetensors


def pending(values):
    return PendingTensor(dtype=values.dtype, shape=values.shape, values=lambda: values)


def test_written_files_are_read_by_the_library_and_back(tmp_path):
    tensors = {
        "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
        "view": np.arange(12, dtype=np.float16).reshape(3, 4).T,
        "scalar": np.asarray(2.5, ml_dtypes.bfloat16),
        "none": np.zeros((0, 3), np.float64),
    }
    write_safetensors(tmp_path / "x.safetensors", {key: pending(values) for key, values in tensors.items()})
    stored = stored_tensors(tmp_path / "x.safetensors")
    by_library = load_file(tmp_path / "x.safetensors")
    assert stored.keys() == by_library.keys() == tensors.keys()
    for key, values in tensors.items():
        for found in (stored[key].read(), by_library[key]):
            assert found.dtype == values.dtype
            np.testing.assert_array_equal(found, values)


def test_an_element_type_without_a_name_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="complex64"):
        write_safetensors(tmp_path / "x.safetensors", {"a": pending(np.zeros(1, np.complex64))})
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def content(tmp_path):
    save_file({"a": np.ones((2, 3), np.float32), "b": np.ones(4, np.float32)}, tmp_path / "x.safetensors")
    return (tmp_path / "x.safetensors").read_bytes()


def split(content):
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header, data):
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def test_every_truncation_is_an_error(tmp_path, content):
    file = tmp_path / "cut.safetensors"
    for length in range(0, len(content), 7):
        file.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="cut.safetensors"):
            stored_tensors(file)


@pytest.mark.parametrize(
    "entry",
    [
        {"shape": [2, 4]},
        {"shape": [-2, -3]},
        {"shape": [2**62, 2**62]},
        {"shape": "2, 3"},
        {"dtype": "F16"},
        {"dtype": "P64"},
        {"data_offsets": [0, 10**15]},
        {"data_offsets": [-24, 0]},
        {"data_offsets": [24, 0]},
        {"data_offsets": [8, 32]},
        {"data_offsets": None},
    ],
)
def test_headers_that_lie_are_an_error(tmp_path, content, entry):
    header, data = split(content)
    header["a"] |= entry
    (tmp_path / "lie.safetensors").write_bytes(joined(header, data))
    with pytest.raises(CheckpointError, match="lie.safetensors"):
        stored_tensors(tmp_path / "lie.safetensors")


@pytest.mark.parametrize("start", [b"\xff" * 8, struct.pack("<Q", 10**9), b"PK\x03\x04\0\0\0\0", b"\0" * 8])
def test_other_files_are_an_error(tmp_path, content, start):
    (tmp_path / "x.safetensors").write_bytes(start + content[8:])
    with pytest.raises(CheckpointError, match="x.safetensors"):
        stored_tensors(tmp_path / "x.safetensors")


def test_folders_and_nothing_are_an_error(tmp_path):
    for name in (".", "nothing.safetensors"):
        with pytest.raises(CheckpointError, match="not a complete safetensors file"):
            stored_tensors(tmp_path / name)


def test_a_file_that_shrinks_after_its_header_was_read_is_an_error(tmp_path, content):
    tensors = stored_tensors(tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes(content[:-8])
    last = max(tensors.values(), key=lambda tensor: tensor.offset)
    with pytest.raises(CheckpointError, match="download it again"):
        last.read()
