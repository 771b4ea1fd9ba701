"""The table of layers, against the networks it is for. What lies where on eight devices: tests/sharded."""

import jax
import numpy as np
import pytest
from flax import nnx

from img2img_jax.parallel import make_mesh
from img2img_jax.partition import LAYERS, LayerRule, Partition
from img2img_jax.testing.tiny import tiny_pipeline

DEVICES = 8 * jax.devices()[:1]
TENSOR, FSDP = make_mesh(data=4, tensor=2, devices=DEVICES), make_mesh(fsdp=8, devices=DEVICES)
BOTH = make_mesh(fsdp=2, tensor=2, devices=DEVICES)
P = jax.P
ALL = Partition(smallest=1)


@pytest.mark.parametrize(
    ("path", "shape", "spec"),
    [
        ("mid_block/attentions/0/transformer_blocks/0/attn1/to_q/kernel", (32, 64), P(None, "tensor")),
        ("mid_block/attentions/0/transformer_blocks/0/attn2/to_out/0/kernel", (64, 32), P("tensor", None)),
        ("mid_block/attentions/0/transformer_blocks/0/attn2/to_out/0/bias", (32,), P()),
        ("down_blocks/0/resnets/1/conv1/kernel", (3, 3, 32, 64), P(None, None, None, "tensor")),
        ("down_blocks/0/resnets/1/conv1/bias", (64,), P("tensor")),
        ("down_blocks/0/resnets/1/norm2/scale", (64,), P("tensor")),
        ("down_blocks/0/resnets/1/conv2/kernel", (3, 3, 64, 32), P(None, None, "tensor", None)),
        ("down_blocks/0/resnets/1/conv2/bias", (32,), P()),
        ("1/0/mu/down_blocks/0/resnets/1/conv1/kernel", (3, 3, 32, 64), P(None, None, None, "tensor")),
        ("conv_in/kernel", (3, 3, 4, 64), P()),
        ("ff/net/0/proj/kernel", (32, 63), P()),
    ],
)
def test_layers_are_split_in_pairs(path, shape, spec):
    assert Partition().spec(path.split("/"), shape, TENSOR) == spec


def test_fsdp_takes_the_longest_axis_that_is_left():
    conv = ("resnets", 0, "conv1", "kernel")
    assert ALL.spec(conv, (3, 3, 64, 32), FSDP) == P(None, None, "fsdp", None)
    assert ALL.spec(conv, (3, 3, 32, 64), BOTH) == P(None, None, "fsdp", "tensor")
    assert ALL.spec(conv, (3, 3, 4, 4), FSDP) == P()
    assert Partition(smallest=2**20).spec(conv, (3, 3, 64, 32), FSDP) == P()


def test_every_rule_finds_layers_and_first_and_second_halves_pair_up():
    pipe, found = tiny_pipeline(), dict.fromkeys(LAYERS, 0)
    for network in (pipe.unet, pipe.text_encoder):
        for path, leaf in nnx.to_flat_state(nnx.state(network)):
            matching = [rule for rule in LAYERS if Partition(layers=(rule,)).spec(path, leaf.shape, TENSOR) != P()]
            assert len(matching) < 2, path
            for rule in matching:
                found[rule] += 1
    assert all(found.values()), found


def test_rules_can_be_replaced():
    own = Partition(layers=(LayerRule(layers="conv_in", split="outputs"),))
    assert own.spec(("conv_in", "kernel"), (3, 3, 4, 64), TENSOR) == P(None, None, None, "tensor")
    assert own.spec(("attn1", "to_q", "kernel"), (64, 64), TENSOR) == P()
    with pytest.raises(ValueError, match="'rows'; choose 'outputs' or 'inputs'"):
        LayerRule(layers="conv_in", split="rows")


def test_trees_of_an_optimiser_are_split_like_their_parameters():
    params = {"attn1": {"to_q": {"kernel": np.zeros((8, 8))}}}
    specs = ALL.specs({"mu": params, "count": np.zeros(())}, BOTH)
    assert specs["mu"] == ALL.specs(params, BOTH) == {"attn1": {"to_q": {"kernel": P("fsdp", "tensor")}}}
    assert specs["count"] == P()
