import pytest

from img2img_jax.checkpoints import CheckpointError
from img2img_jax.checkpoints.key_table import key_table


@pytest.mark.parametrize(
    ("old", "new"),
    [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0"), ("group_norm", "group_norm")],
)
def test_old_attention_names_of_the_vae(old, new):
    table = key_table("AutoencoderKL")
    for leaf in ("weight", "bias"):
        key = f"encoder.mid_block.attentions.0.{{}}.{leaf}"
        assert table.canonical(key.format(old)) == key.format(new) == table.canonical(key.format(new))


def test_only_buffers_are_ignored():
    assert key_table("CLIPTextModel").canonical("text_model.embeddings.position_ids") is None
    assert key_table("CLIPModel").canonical("vision_model.embeddings.position_ids") is None
    assert key_table("CLIPModel").canonical("text_model.embeddings.position_ids_2") is not None
    assert key_table("UNet2DConditionModel").canonical("embeddings.position_ids") is not None


def test_the_prefix_is_optional():
    table = key_table("CLIPTextModel")
    assert table.canonical("text_model.final_layer_norm.bias") == "final_layer_norm.bias"
    assert table.canonical("final_layer_norm.bias") == "final_layer_norm.bias"
    assert key_table("CLIPModel").canonical("text_model.final_layer_norm.bias") == "text_model.final_layer_norm.bias"


def test_keys_of_the_lpips_package():
    table = key_table("LPIPS")
    assert table.canonical("net.slice3.7.expand1x1.bias") == "features.7.expand1x1.bias"
    assert table.canonical("lin6.model.1.weight") == "lin.6.weight" == table.canonical("lin.6.weight")
    assert table.canonical("lins.6.model.1.weight") is None is table.canonical("scaling_layer.shift")


def test_a_vit_s_head_is_no_part_of_it():
    table = key_table("ViTModel")
    assert table.canonical("pooler.dense.weight") is None is table.canonical("embeddings.mask_token")
    assert table.canonical("embeddings.cls_token") == "embeddings.cls_token"


def test_an_unknown_class_is_an_error():
    with pytest.raises(CheckpointError, match="no key table for Sequential; known: .*UNet2DConditionModel"):
        key_table("Sequential")
