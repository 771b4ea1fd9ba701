"""Keys of the original Stable Diffusion code (LDM, SGM) and of OpenCLIP, one set of rules for each network.

The UNet's and the VAE's names depend on the number of blocks and layers, hence on the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from img2img_jax.checkpoints.errors import CheckpointError
from img2img_jax.checkpoints.key_table import KeyRules

MAX_BLOCKS = 100
"""More blocks or layers than any UNet has: what a configuration may ask for before anything is built by it."""

_UNET_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_UNET_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}

OPEN_CLIP = KeyRules(
    modules={
        "token_embedding": "text_model.embeddings.token_embedding",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "ln_final": "text_model.final_layer_norm",
        "text_projection": "text_projection.weight",
    },
    renames=(
        (r"^transformer\.resblocks\.(\d+)\.", r"text_model.encoder.layers.\1."),
        (r"\.ln_([12])\.", r".layer_norm\1."),
        (r"\.mlp\.c_fc\.", ".mlp.fc1."),
        (r"\.mlp\.c_proj\.", ".mlp.fc2."),
        (r"\.attn\.in_proj_(weight|bias)$", r".self_attn.in_proj.\1"),
        (r"\.attn\.", ".self_attn."),
    ),
    ignored=r"^(logit_scale|attn_mask)$",
)
"""OpenCLIP's text tower; queries, keys and values are one matrix there, and ``text_projection`` lies transposed."""

CLIP = KeyRules(ignored=r"(^|\.)embeddings\.position_ids$")
"""CLIP's text tower, which has transformers' own names."""


def unet_rules(config: Mapping[str, Any]) -> KeyRules:
    """Rules of ``model.diffusion_model`` for a UNet of this configuration."""
    return KeyRules(modules=unet_modules(config))


def unet_modules(config: Mapping[str, Any]) -> dict[str, str]:
    """Original module -> diffusers' module; transformers are named by their outermost module.

    Raises:
      CheckpointError: the configuration describes no UNet.
    """
    layers, attends = _structure(config)
    levels = range(len(attends))
    modules = dict(_UNET_ENDS)

    def layer(original: str, block: str, index: int, attention: bool) -> None:
        resnet = f"{block}.resnets.{index}"
        modules.update({f"{original}.0.{old}": f"{resnet}.{new}" for old, new in _UNET_RESNET.items()})
        if attention:
            modules[f"{original}.1"] = f"{block}.attentions.{index}"

    number = 1  # 0 is conv_in
    for level in levels:
        for i in range(layers[level]):
            layer(f"input_blocks.{number}", f"down_blocks.{level}", i, attends[level])
            number += 1
        modules[f"input_blocks.{number}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
        number += 1
    for original, i in ((0, 0), (2, 1)):
        middle = {f"middle_block.{original}.{old}": f"mid_block.resnets.{i}.{new}" for old, new in _UNET_RESNET.items()}
        modules.update(middle)
    modules["middle_block.1"] = "mid_block.attentions.0"
    number = 0
    for position, level in enumerate(reversed(levels)):
        for i in range(layers[level] + 1):
            layer(f"output_blocks.{number}", f"up_blocks.{position}", i, attends[level])
            number += 1
        place = 2 if attends[level] else 1
        modules[f"output_blocks.{number - 1}.{place}.conv"] = f"up_blocks.{position}.upsamplers.0.conv"
    return modules


def _structure(config: Mapping[str, Any]) -> tuple[list[int], list[bool]]:
    """Of each level: the number of layers, and whether it has attention."""
    kinds, layers = config.get("down_block_types"), config.get("layers_per_block", 2)
    if isinstance(kinds, (list, tuple)) and len(kinds) <= MAX_BLOCKS:
        counts = [layers] * len(kinds) if isinstance(layers, int) else layers
        if isinstance(counts, (list, tuple)) and len(counts) == len(kinds):
            if all(isinstance(count, int) and 0 < count <= MAX_BLOCKS for count in counts):
                return list(counts), ["CrossAttn" in str(kind) for kind in kinds]
    raise CheckpointError(f"layers_per_block={layers!r:.80} with down_block_types={kinds!r:.80} describes no UNet")


def vae_rules(config: Mapping[str, Any]) -> KeyRules:
    """Rules of ``first_stage_model`` for an AutoencoderKL of this configuration.

    Raises:
      CheckpointError: the configuration describes none.
    """
    modules, channels = {}, config.get("block_out_channels")
    if not isinstance(channels, (list, tuple)) or len(channels) > MAX_BLOCKS:
        raise CheckpointError(f"block_out_channels={channels!r:.80} describes no AutoencoderKL")
    levels = len(channels)
    for side in ("encoder", "decoder"):
        modules[f"{side}.norm_out"] = f"{side}.conv_norm_out"
        for i in range(2):
            modules[f"{side}.mid.block_{i + 1}"] = f"{side}.mid_block.resnets.{i}"
        for old, new in _VAE_ATTENTION.items():
            modules[f"{side}.mid.attn_1.{old}"] = f"{side}.mid_block.attentions.0.{new}"
    for level in range(levels):
        up = f"decoder.up_blocks.{levels - 1 - level}"  # the original counts from the finest level
        modules[f"encoder.down.{level}.downsample"] = f"encoder.down_blocks.{level}.downsamplers.0"
        modules[f"decoder.up.{level}.upsample"] = f"{up}.upsamplers.0"
        modules[f"encoder.down.{level}.block"] = f"encoder.down_blocks.{level}.resnets"
        modules[f"decoder.up.{level}.block"] = f"{up}.resnets"
    return KeyRules(modules=modules, renames=((r"\.nin_shortcut\.", ".conv_shortcut."),), ignored=r"^loss\.")
