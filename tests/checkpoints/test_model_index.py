import json

import pytest

from img2img_jax.checkpoints import CheckpointError, read_model_index, write_model_index

FLAGS = dict(requires_aesthetics_score=True, force_zeros_for_empty_prompt=False)
COMPONENTS = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")


@pytest.mark.parametrize(
    ("text_encoders", "class_name", "present"),
    [
        (("text_encoder",), "StableDiffusionImg2ImgPipeline", COMPONENTS[:2]),
        (("text_encoder", "text_encoder_2"), "StableDiffusionXLImg2ImgPipeline", COMPONENTS),
        (("text_encoder_2",), "StableDiffusionXLImg2ImgPipeline", COMPONENTS[2:]),
    ],
)
def test_what_is_written_is_read(tmp_path, text_encoders, class_name, present):
    write_model_index(tmp_path, vae="AutoencoderKL", scheduler="DDIMScheduler", text_encoders=text_encoders, **FLAGS)
    index = read_model_index(tmp_path)
    assert index.values["_class_name"] == class_name
    assert tuple(name for name in COMPONENTS if index.has(name)) == present
    assert index.has("vae") and index.has("unet") and not index.has("image_encoder")
    assert index.flags == (FLAGS if "XL" in class_name else {})


def test_where_the_index_is_silent_folders_speak(tmp_path):
    (tmp_path / "text_encoder_2").mkdir()
    index = read_model_index(tmp_path)
    assert index.has("text_encoder_2") and not index.has("text_encoder") and index.flags == {}


@pytest.mark.parametrize("entry", [None, [], [None, None], "CLIPTextModel", {"a": 1}, 3])
def test_what_names_no_class_is_absent(tmp_path, entry):
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "model_index.json").write_text(json.dumps({"text_encoder": entry}))
    assert not read_model_index(tmp_path).has("text_encoder")


@pytest.mark.parametrize("value", [None, 1, "true", []])
def test_flags_are_true_or_false(tmp_path, value):
    (tmp_path / "model_index.json").write_text(json.dumps({"requires_aesthetics_score": value}))
    with pytest.raises(CheckpointError, match="requires_aesthetics_score is .*set it to true or false"):
        _ = read_model_index(tmp_path).flags
