import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from img2img_jax.checkpoints import CheckpointError, with_loras
from img2img_jax.checkpoints.lora import read_lora
from img2img_jax.checkpoints.safetensors_file import stored_tensors
from img2img_jax.checkpoints.stored_component import StoredComponent

UNET = {
    "conv_in.weight": (4, 4, 3, 3),
    "conv_in.bias": (4,),
    "down_blocks.0.resnets.0.conv1.weight": (4, 4, 3, 3),
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0.weight": (4, 4),
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight": (4, 4),
}
TEXT = {
    "text_model.encoder.layers.0.self_attn.q_proj.weight": (4, 4),
    "text_model.encoder.layers.0.mlp.fc1.weight": (4, 4),
}
Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
BARE_Q = "encoder.layers.0.self_attn.q_proj"
TEXT_Q = "text_model.encoder.layers.0.self_attn.q_proj"


@pytest.fixture
def components(tmp_path):
    """Weights of zeros, so that what is read is the update."""
    config = {"down_block_types": ["CrossAttnDownBlock2D"], "layers_per_block": 1}
    made = {}
    for name, shapes in (("unet", UNET), ("text_encoder", TEXT), ("text_encoder_2", TEXT)):
        path = tmp_path / f"{name}.safetensors"
        save_file({key: np.zeros(shape, np.float32) for key, shape in shapes.items()}, path)
        made[name] = StoredComponent(config=config if name == "unet" else {}, tensors=stored_tensors(path), origin=path)
    return made


def factors(down, up, rank=2, **more):
    tensors = {down: np.ones((rank, 4), np.float32), up: np.ones((4, rank), np.float32)}
    return tensors | {key: np.asarray(value, np.float32) for key, value in more.items()}


def changed(components):
    """(component, key) -> the value all through the update."""
    values = {
        (name, key): np.unique(tensor.read())
        for name, component in components.items()
        for key, tensor in component.tensors.items()
    }
    return {place: found.item() for place, found in values.items() if found.size != 1 or found != 0}


@pytest.fixture
def merge(components, tmp_path):
    def merge(tensors, weight=1.0, **metadata):
        save_file(tensors, tmp_path / "lora.safetensors", metadata=metadata or None)
        return changed(with_loras(components, [(tmp_path / "lora.safetensors", weight)]))

    return merge


@pytest.mark.parametrize(
    ("down", "place"),
    [
        (f"lora_unet_{Q.replace('.', '_')}.lora_down.weight", ("unet", Q)),
        ("lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_down.weight", ("unet", Q)),
        (f"lora_te_{TEXT_Q.replace('.', '_')}.lora_down.weight", ("text_encoder", TEXT_Q)),
        (f"lora_te1_{TEXT_Q.replace('.', '_')}.lora_down.weight", ("text_encoder", TEXT_Q)),
        (f"lora_te2_{TEXT_Q.replace('.', '_')}.lora_down.weight", ("text_encoder_2", TEXT_Q)),
        (f"unet.{Q}.lora_A.weight", ("unet", Q)),
        (f"unet.{Q}.lora_A.default.weight", ("unet", Q)),
        (f"base_model.model.{Q}.lora_A.weight", ("unet", Q)),
        (f"base_model.model.{TEXT_Q}.lora_A.weight", ("text_encoder", TEXT_Q)),
        (f"unet.{Q}.lora.down.weight", ("unet", Q)),
        (f"unet.{Q}_lora.down.weight".replace("attn1.", "attn1.processor."), ("unet", Q)),
        (f"{Q}_lora.down.weight".replace("attn1.", "attn1.processor."), ("unet", Q)),
        (f"unet.{OUT[:-2]}_lora.down.weight".replace("attn1.", "attn1.processor."), ("unet", OUT)),
        (f"text_encoder.{TEXT_Q}.lora_linear_layer.down.weight", ("text_encoder", TEXT_Q)),
        (f"text_encoder_2.{TEXT_Q}.lora_linear_layer.down.weight", ("text_encoder_2", TEXT_Q)),
        (
            "text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.down.weight",
            ("text_encoder", TEXT_Q),
        ),
        (f"text_encoder.{BARE_Q}.lora_A.weight", ("text_encoder", TEXT_Q)),
    ],
)  # fmt: skip
def test_every_layout_finds_its_layer(merge, down, place):
    up = down.replace("lora_down", "lora_up").replace(".down.", ".up.").replace(".lora_A", ".lora_B")
    component, module = place
    assert merge(factors(down, up)) == {(component, f"{module}.weight"): 2.0}


NAMES = (f"unet.{Q}.lora.down.weight", f"unet.{Q}.lora.up.weight")


@pytest.mark.parametrize("alpha", [1.0, 8.0])
@pytest.mark.parametrize("rank", [1, 4])
@pytest.mark.parametrize("weight", [1.0, -0.5, 0])
def test_scale_is_weight_times_alpha_over_rank(merge, alpha, rank, weight):
    found = merge(factors(*NAMES, rank=rank, **{f"unet.{Q}.alpha": alpha}), weight)
    assert found == ({("unet", f"{Q}.weight"): weight * alpha} if weight else {})


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 2.0),
        ({"unet.lora_alpha": 6}, 6.0),
        ({"unet.lora_alpha": 6, "unet.alpha_pattern": {"attn1.to_q": 3}}, 3.0),
        ({"unet.lora_alpha": 6, "unet.alpha_pattern": {"attn2.to_q": 3}}, 6.0),
        ({"unet.lora_alpha": 6, "unet.use_rslora": True}, 6 * 2**0.5),
        ({"text_encoder.lora_alpha": 6}, 2.0),
    ],
)
def test_settings_in_the_header(merge, settings, expected):
    (value,) = merge(factors(*NAMES), lora_adapter_metadata=json.dumps(settings)).values()
    assert value == pytest.approx(expected)


def test_settings_beside_the_file(components, tmp_path):
    """What PEFT saves: a folder with two files."""
    (tmp_path / "peft").mkdir()
    names = (f"base_model.model.{Q}.lora_A.weight", f"base_model.model.{Q}.lora_B.weight")
    save_file(factors(*names), tmp_path / "peft" / "adapter_model.safetensors")
    (tmp_path / "peft" / "adapter_config.json").write_text('{"r": 2, "lora_alpha": 10}')
    assert changed(with_loras(components, [tmp_path / "peft"])) == {("unet", f"{Q}.weight"): 10.0}


def test_several_add_up_in_any_order(components, tmp_path):
    save_file(factors(*NAMES), tmp_path / "a.safetensors")
    save_file(factors(*NAMES, rank=1), tmp_path / "b.safetensors")
    loras = [(tmp_path / "a.safetensors", 0.5), tmp_path / "b.safetensors"]
    for order in (loras, loras[::-1]):
        assert changed(with_loras(components, order)) == {("unet", f"{Q}.weight"): 2.0}
    assert changed(components) == {}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (factors("lora_unet_nowhere.lora_down.weight", "lora_unet_nowhere.lora_up.weight"), "2 unmatched: lora_un"),
        (factors("lora_te3_x.lora_down.weight", "lora_te3_x.lora_up.weight"), "2 unmatched: lora_te3"),
        (factors(*NAMES, **{f"unet.{Q}.dora_scale": 1}), "1 unmatched: .*dora_scale.*DoRA, LoHa, LoKr"),
        ({f"lora_unet_{Q.replace('.', '_')}.hada_w1_a": np.ones((1, 1), np.float32)}, "hada_w1_a"),
        ({NAMES[0]: np.ones((2, 4), np.float32)}, r"has \['down'\], must have down and up"),
        (factors(*NAMES, **{f"unet.{Q}.alpha": np.nan}), "no finite scale"),
        (factors(*NAMES, **{f"unet.{Q}.alpha": [1, 2]}), "no finite scale"),
        (factors("unet.conv_in.lora.down.weight", "unet.conv_in.lora.up.weight"), "is the LoRA for another family"),
        ({"x": np.ones(1, np.float32)}, "1 unmatched: x"),
        ({}, "0 unmatched"),
        (factors(*NAMES) | factors(*(name.replace("lora.", "lora_linear_layer.") for name in NAMES)), "same factor"),
        (
            factors(*NAMES)
            | factors(*(f"lora_unet_{Q.replace('.', '_')}.lora_{side}.weight" for side in ("down", "up"))),
            "two layers are for unet",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(merge, tensors, message):
    with pytest.raises(CheckpointError, match=message):
        merge(tensors)


@pytest.mark.parametrize("settings", ["[", "[1]", '{"unet.lora_alpha": "big"}', '{"unet.lora_alpha": 1e999}'])
def test_settings_that_are_no_numbers_are_an_error(merge, settings):
    with pytest.raises(CheckpointError):
        merge(factors(*NAMES), lora_adapter_metadata=settings)


@pytest.mark.parametrize("weight", [np.nan, np.inf, "0.5", None, True])
def test_a_weight_is_a_finite_number(components, weight):
    with pytest.raises(ValueError, match="give a finite number"):
        with_loras(components, [(Path("x.safetensors"), weight)])


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="nothing.safetensors"):
        read_lora(tmp_path / "nothing.safetensors")
    with pytest.raises(CheckpointError, match="pytorch_lora_weights.safetensors"):
        read_lora(tmp_path)
