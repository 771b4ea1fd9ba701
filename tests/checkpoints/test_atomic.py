import os

import pytest

from img2img_jax.checkpoints.atomic import replacing


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "x") as file:
        file.write(b"half of the n")
        raise KeyboardInterrupt
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"


def test_the_old_file_stays_until_the_block_ends(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    with replacing(tmp_path / "x") as file:
        file.write(b"new")
        file.flush()
        assert (tmp_path / "x").read_bytes() == b"old"
    assert (tmp_path / "x").read_bytes() == b"new"


def test_permissions_are_those_of_any_new_file(tmp_path):
    with replacing(tmp_path / "folder" / "x") as file:
        file.write(b"new")
    (tmp_path / "y").touch()
    assert os.stat(tmp_path / "folder" / "x").st_mode == os.stat(tmp_path / "y").st_mode
