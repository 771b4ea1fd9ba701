import pytest

from img2img_jax.checkpoints.families import FAMILIES
from img2img_jax.checkpoints.original_layout import OPEN_CLIP, unet_rules, vae_rules


@pytest.mark.parametrize(
    ("family", "old", "new"),
    [
        ("sd1", "input_blocks.0.0.weight", "conv_in.weight"),
        ("sd1", "input_blocks.1.0.in_layers.0.bias", "down_blocks.0.resnets.0.norm1.bias"),
        ("sd1", "input_blocks.3.0.op.weight", "down_blocks.0.downsamplers.0.conv.weight"),
        ("sd1", "input_blocks.4.0.skip_connection.weight", "down_blocks.1.resnets.0.conv_shortcut.weight"),
        ("sd1", "output_blocks.2.1.conv.weight", "up_blocks.0.upsamplers.0.conv.weight"),
        ("sd1", "output_blocks.5.2.conv.weight", "up_blocks.1.upsamplers.0.conv.weight"),
        ("sd1", "output_blocks.11.1.proj_out.weight", "up_blocks.3.attentions.2.proj_out.weight"),
        ("sdxl", "label_emb.0.2.bias", "add_embedding.linear_2.bias"),
        ("sdxl", "input_blocks.8.1.norm.weight", "down_blocks.2.attentions.1.norm.weight"),
        ("sdxl", "output_blocks.2.2.conv.bias", "up_blocks.0.upsamplers.0.conv.bias"),
        ("sdxl", "middle_block.2.emb_layers.1.bias", "mid_block.resnets.1.time_emb_proj.bias"),
    ],
)
def test_unet_keys(family, old, new):
    assert unet_rules(FAMILIES[family].components["unet"]).canonical(old) == new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("encoder.down.0.block.1.norm1.weight", "encoder.down_blocks.0.resnets.1.norm1.weight"),
        ("decoder.up.3.block.2.conv1.weight", "decoder.up_blocks.0.resnets.2.conv1.weight"),
        ("decoder.up.1.block.0.nin_shortcut.bias", "decoder.up_blocks.2.resnets.0.conv_shortcut.bias"),
        ("decoder.up.2.upsample.conv.bias", "decoder.up_blocks.1.upsamplers.0.conv.bias"),
        ("encoder.mid.attn_1.proj_out.weight", "encoder.mid_block.attentions.0.to_out.0.weight"),
        ("quant_conv.weight", "quant_conv.weight"),
        ("loss.discriminator.main.0.weight", None),
    ],
)
def test_vae_keys(old, new):
    assert vae_rules(FAMILIES["sd1"].components["vae"]).canonical(old) == new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
        ("transformer.resblocks.3.ln_2.bias", "text_model.encoder.layers.3.layer_norm2.bias"),
        ("transformer.resblocks.3.mlp.c_proj.bias", "text_model.encoder.layers.3.mlp.fc2.bias"),
        ("transformer.resblocks.3.attn.out_proj.bias", "text_model.encoder.layers.3.self_attn.out_proj.bias"),
        ("logit_scale", None),
    ],
)
def test_open_clip_keys(old, new):
    assert OPEN_CLIP.canonical(old) == new
