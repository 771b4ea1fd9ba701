import logging

import numpy as np
import pytest
from safetensors.numpy import save_file

from img2img_jax.checkpoints import CheckpointError, open_checkpoint
from img2img_jax.checkpoints.families import FAMILIES
from img2img_jax.checkpoints.single_file import open_single_file, original_vae, recognise
from img2img_jax.checkpoints.stored_component import StoredComponent

UNET = {"model.diffusion_model.input_blocks.0.0.weight": np.zeros((2, 4, 3, 3), np.float32)}
VAE = {"first_stage_model.encoder.conv_in.weight": np.zeros((2, 3, 3, 3), np.float32)}


def tower(prefix, width=2):
    """The rows that tell a text tower: OpenCLIP's under ``.model.``, else CLIP's."""
    if not prefix.endswith(".model."):
        return {f"{prefix}text_model.final_layer_norm.weight": np.ones(width, np.float32)}
    rows = np.arange(6 * width, dtype=np.float32).reshape(3 * width, 2)
    return {
        f"{prefix}transformer.resblocks.{layer}.attn.in_proj_weight": rows
        for layer in (0, 22, 23)  # the last is one too many for Stable Diffusion 2
    } | {f"{prefix}text_projection": np.arange(6, dtype=np.float32).reshape(2, 3)}


def whole(family, **extra):
    tensors = UNET | VAE | extra
    for prefix in FAMILIES[family].towers.values():
        tensors |= tower(prefix)
    return tensors


@pytest.fixture
def write(tmp_path):
    def write(tensors, **metadata):
        save_file(tensors, tmp_path / "model.safetensors", metadata=metadata or None)
        return tmp_path / "model.safetensors"

    return write


@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_recognised(write, family):
    path = write(whole(family))
    found, components, scheduler = open_single_file(path)
    assert found is FAMILIES[family]
    assert components.keys() == FAMILIES[family].components.keys()
    assert scheduler == FAMILIES[family].scheduler
    assert components["unet"].tensors.keys() == {"conv_in.weight"}


def test_a_family_can_be_named_against_the_keys(write):
    path = write(whole("sd1"))
    with pytest.raises(CheckpointError, match="taken for family 'sd2'.*1 unmatched: cond_stage_model.transformer"):
        open_single_file(path, family="sd2")
    with pytest.raises(CheckpointError, match="family='sd9' is not known; choose one of sd1, sd2"):
        open_checkpoint(path, family="sd9")


def test_open_clip_becomes_three_projections_and_loses_its_last_layer(write):
    _, components, _ = open_single_file(write(whole("sd2")))
    tensors = components["text_encoder"].tensors
    names = [f"text_model.encoder.layers.{layer}.self_attn.{p}_proj.weight" for layer in (0, 22) for p in "qkv"]
    assert sorted(tensors) == sorted(names)
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    for i, part in enumerate("qkv"):
        np.testing.assert_array_equal(
            tensors[f"text_model.encoder.layers.0.self_attn.{part}_proj.weight"].read(), rows[2 * i : 2 * i + 2]
        )


def test_the_projection_is_transposed(write):
    _, components, _ = open_single_file(write(whole("sdxl")))
    tensor = components["text_encoder_2"].tensors["text_projection.weight"]
    assert tensor.shape == (3, 2)
    np.testing.assert_array_equal(tensor.read(), np.arange(6).reshape(2, 3).T)


def test_projections_that_are_no_three_matrices_are_an_error(write):
    tensors = whole("sd2")
    tensors["cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight"] = np.zeros((7, 2), np.float32)
    with pytest.raises(CheckpointError, match=r"\[7, 2\] holds no 3 matrices"):
        open_single_file(write(tensors))


@pytest.mark.parametrize("channels", [5, 8, 9])
def test_inpainting_and_instruct_models_are_refused(write, channels):
    probe = {next(iter(UNET)): np.zeros((2, channels, 3, 3), np.float32)}
    with pytest.raises(CheckpointError, match=f"takes {channels} channels, image-to-image needs 4"):
        open_single_file(write(whole("sd1") | probe))


def test_files_of_something_else_are_refused(write):
    with pytest.raises(CheckpointError, match="no whole checkpoint.*a LoRA goes into loras"):
        open_single_file(write({"lora_unet_x.lora_down.weight": np.zeros((1, 1), np.float32)}))
    with pytest.raises(CheckpointError, match="holds no text encoder"):
        recognise(dict.fromkeys(UNET, open_single_file(write(whole("sd1")))[1]["unet"].tensors["conv_in.weight"]), "x")
    with pytest.raises(CheckpointError, match="holds no vae"):
        tensors = whole("sd1")
        open_single_file(write({key: value for key, value in tensors.items() if key not in VAE}))


def test_what_training_left_is_ignored_and_the_rest_is_named(write):
    surplus = ["betas", "model_ema.decay", "sqrt_recip_alphas_cumprod", "denoiser.sigmas", "posterior_variance"]
    one = np.ones(1, np.float32)
    _, components, _ = open_single_file(write(whole("sd1", **dict.fromkeys(surplus, one))))
    assert all(isinstance(part, StoredComponent) for part in components.values())
    with pytest.raises(CheckpointError, match="'sd1', but has 1 unmatched: control_model.x"):
        open_single_file(write(whole("sd1", **{"control_model.x": one})))


@pytest.mark.parametrize(
    ("family", "extra", "metadata", "expected"),
    [
        ("sd1", [], {}, {"prediction_type": "epsilon"}),
        ("sd2", [], {}, {"prediction_type": "v_prediction"}),
        ("sd2", [], {"modelspec.prediction_type": "epsilon"}, {"prediction_type": "epsilon"}),
        ("sdxl", ["v_pred"], {}, {"prediction_type": "v_prediction"}),
        ("sdxl", ["v_pred", "ztsnr"], {}, {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}),
        ("sd1", [], {"modelspec.prediction_type": "v"}, {"prediction_type": "v_prediction"}),
    ],
)
def test_what_the_file_says_of_its_prediction_counts(write, family, extra, metadata, expected):
    path = write(whole(family, **dict.fromkeys(extra, np.ones(0, np.float32))), **metadata)
    assert expected.items() <= open_checkpoint(path).scheduler_config.items()
    chosen = open_checkpoint(path, prediction_type="sample").scheduler_config
    assert chosen["prediction_type"] == "sample"


def test_an_assumed_prediction_type_is_said(write, caplog):
    path = write(whole("sd2"))
    with caplog.at_level(logging.WARNING):
        open_checkpoint(path, prediction_type="epsilon")
        assert "does not say what it predicts" not in caplog.text
        open_checkpoint(path)
    assert "does not say what it predicts" in caplog.text and "prediction_type='epsilon'" in caplog.text


def test_attention_by_convolutions_becomes_linear(write):
    tensors = {"first_stage_model.encoder.mid.attn_1.q.weight": np.zeros((4, 4, 1, 1), np.float32)}
    stored = {"encoder.mid.attn_1.q.weight": open_single_file(write(whole("sd1", **tensors)))[1]["vae"].tensors}
    shape = stored["encoder.mid.attn_1.q.weight"]["encoder.mid_block.attentions.0.to_q.weight"].shape
    assert shape == (4, 4)


def test_two_keys_for_one_parameter_are_an_error(write):
    _, components, _ = open_single_file(write(whole("sd1")))
    (tensor,) = components["vae"].tensors.values()
    twice = {"encoder.norm_out.weight": tensor, "encoder.conv_norm_out.weight": tensor}
    with pytest.raises(CheckpointError, match="both name encoder.conv_norm_out.weight"):
        original_vae(twice, FAMILIES["sd1"].components["vae"], "x")


@pytest.mark.parametrize(
    "config", [{}, {"down_block_types": 3}, {"down_block_types": ["DownBlock2D"], "layers_per_block": 10**9}]
)
def test_unusable_configurations_are_an_error(write, config):
    with pytest.raises(CheckpointError, match="layers_per_block=.* describes no UNet"):
        open_single_file(write(whole("sd1")), configs={"unet": config})
