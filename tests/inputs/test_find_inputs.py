"""Which pictures a path stands for, in which order, with which prompts."""

import json

import pytest

from img2img_jax.images import ImageError
from img2img_jax.inputs import find_inputs


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "c.webp", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.png").touch()
    return tmp_path


def _write(folder, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _found(folder, prompt=None):
    return [(item.path.relative_to(folder).as_posix(), item.prompt) for item in find_inputs(folder, prompt)]


def test_one_file(tmp_path):
    (tmp_path / "a.dat").touch()  # named explicitly, the ending does not matter
    (item,) = find_inputs(tmp_path / "a.dat", "@x")
    assert (item.path, item.prompt) == (tmp_path / "a.dat", "@x")


def test_folder_by_name_without_hidden_files_subfolders_and_other_files(folder):
    assert _found(folder, "p") == [("a.JPG", "p"), ("b.png", "p"), ("c.webp", "p")]


def test_manifest_gives_order_prompts_and_subfolders(folder):
    # U+2028 ends a line for str.splitlines, but not in JSON
    rows = [{"file_name": "./sub/d.png", "prompt": "@ü\n\u2028x"}, "", {"file_name": "b.png", "prompt": "b", "n": 1}]
    _write(folder, *rows)
    assert _found(folder) == [("sub/d.png", "@ü\n\u2028x"), ("b.png", "b"), ("a.JPG", None), ("c.webp", None)]
    assert {prompt for _, prompt in _found(folder, "")} == {""}  # a given prompt wins, even an empty one


def test_masks_and_references_of_a_folder_are_no_inputs(folder):
    """A picture that has a line of its own is one, whatever else it serves as."""
    files = {"mask": "./a.JPG", "reference": "sub/../c.webp"}
    _write(folder, {"file_name": "b.png", "prompt": "b"} | files)
    assert _found(folder) == [("b.png", "b")]
    (item,) = find_inputs(folder)
    assert (item.mask, item.reference) == (folder / "a.JPG", folder / "c.webp")
    _write(folder, {"file_name": "b.png", "prompt": "b"} | files, {"file_name": "c.webp", "prompt": "c"})
    assert _found(folder) == [("b.png", "b"), ("c.webp", "c")]


def test_manifest_may_name_a_missing_picture(folder):
    """It is found out, and reported, when the picture is opened."""
    _write(folder, {"file_name": "gone.png", "prompt": "x"})
    assert _found(folder)[0] == ("gone.png", "x")


@pytest.mark.parametrize("row", ["{", "[]", "{}", '{"file_name": 3}', '{"file_name": "b.png", "prompt": 3}'])
def test_broken_manifest_line_is_named(folder, row):
    _write(folder, {"file_name": "a.JPG", "prompt": "x"}, row)
    with pytest.raises(ValueError, match="metadata.jsonl, line 2: "):
        find_inputs(folder)


def test_nothing_there(tmp_path):
    with pytest.raises(ImageError, match="gone: no such file or folder"):
        find_inputs(tmp_path / "gone")
    with pytest.raises(ImageError, match="no pictures in this folder"):
        find_inputs(tmp_path)
