"""Lists of inputs: JSONL, CSV and PIE-Bench's mapping file."""

import json

import numpy as np
import pytest
from PIL import Image

from img2img_jax.images import ImageError
from img2img_jax.inputs import Input, find_inputs, read_mask

FIELDS = dict(file_name="a.png", prompt="p", source_prompt="s", negative_prompt="n", mask="m.png", group="g")


@pytest.mark.parametrize("name", ["list.jsonl", "list.csv"])
def test_a_list_says_everything_about_a_picture(tmp_path, name):
    lines = {
        "list.jsonl": json.dumps(FIELDS) + "\n" + json.dumps({"file_name": "sub/b.png", "text": "q"}),
        "list.csv": "file_name,prompt,source_prompt,negative_prompt,mask,group\na.png,p,s,n,m.png,g\nsub/b.png,q,,,,\n",
    }
    (tmp_path / name).write_text(lines[name])
    first, second = find_inputs(tmp_path / name)
    files = dict(path=tmp_path / "a.png", mask=tmp_path / "m.png")
    assert first == Input(prompt="p", source_prompt="s", negative_prompt="n", group="g", **files)
    assert second == Input(path=tmp_path / "sub" / "b.png", prompt="q")
    assert {item.prompt for item in find_inputs(tmp_path / name, "other")} == {"other"}


def test_a_broken_row_is_named(tmp_path):
    (tmp_path / "list.csv").write_text("file,prompt\na.png,p\n")
    with pytest.raises(ValueError, match='list.csv, line 2: .* "file_name"'):
        find_inputs(tmp_path / "list.csv")


def test_pie_bench(tmp_path):
    entry = {
        "image_path": "8_change_background_80/1.jpg",
        "original_prompt": "a [cat] on grass",
        "editing_prompt": "a cat on [snow]",
        "editing_instruction": "x",
        "editing_type_id": "8",
        "blended_word": "",
        "mask": [512, 512, 2000, 3],
    }
    (tmp_path / "mapping_file.json").write_text(json.dumps({"1": entry}))
    [item] = find_inputs(tmp_path / "mapping_file.json")
    assert item.path == tmp_path / "annotation_images" / "8_change_background_80" / "1.jpg"
    assert (item.prompt, item.source_prompt, item.group) == ("a cat on snow", "a cat on grass", "change background")
    mask = read_mask(item.mask)
    expected = np.zeros(512 * 512, bool)
    expected[512:1024] = expected[2000:2003] = True
    expected = expected.reshape(512, 512)
    expected[[0, -1]] = expected[:, [0, -1]] = True
    np.testing.assert_array_equal(mask, expected)
    (tmp_path / "mapping_file.json").write_text(json.dumps({"1": {"image_path": "x"}}))
    with pytest.raises(ValueError, match="no mapping file of PIE-Bench .*editing_prompt"):
        find_inputs(tmp_path / "mapping_file.json")


def test_masks_are_brought_to_size_as_pictures_are(tmp_path):
    picture = np.zeros((20, 40), np.uint8)
    picture[:, 20:] = 255
    Image.fromarray(picture).save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png", height=16, width=16)  # cropped to the middle
    assert mask.shape == (16, 16) and not mask[:, :7].any() and mask[:, 9:].all()
    with pytest.raises(ImageError, match="run lengths"):
        read_mask((512 * 512, 1))
