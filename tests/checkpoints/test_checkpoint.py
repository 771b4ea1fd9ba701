import pytest

from img2img_jax.checkpoints import CheckpointError, TokenizerSource, open_checkpoint
from img2img_jax.checkpoints.families import CLIP_TOKENIZER
from img2img_jax.prompts import load_tokenizer


@pytest.mark.parametrize("name", ["family", "config"])
def test_arguments_for_single_files_are_refused_for_folders(tmp_path, name):
    with pytest.raises(CheckpointError, match=f"{name}='x' is for single files"):
        open_checkpoint(tmp_path, **{name: "x"})


def test_a_variant_of_a_single_file_is_refused(tmp_path):
    (tmp_path / "x.safetensors").touch()
    with pytest.raises(CheckpointError, match="variant='fp16' is for folders"):
        open_checkpoint(tmp_path / "x.safetensors", variant="fp16")


def test_an_unknown_prediction_type_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="prediction_type='v' is not known; choose one of .*v_prediction"):
        open_checkpoint(tmp_path, prediction_type="v")


def test_without_a_connection_the_way_to_a_tokenizer_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=f"no tokenizer: {CLIP_TOKENIZER} .* CLIP tokenizer by tokenizer="):
        load_tokenizer(TokenizerSource(origin=CLIP_TOKENIZER))


def test_a_tokenizer_can_be_given(tmp_path):
    (tmp_path / "vocab.json").write_text("{")
    with pytest.raises(CheckpointError, match="no usable tokenizer in"):
        load_tokenizer(TokenizerSource(origin=str(tmp_path)))
