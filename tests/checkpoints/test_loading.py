"""What loading costs, on a checkpoint of full size."""

import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from flax import nnx

from img2img_jax.checkpoints.parameters import key_of, torch_shape
from img2img_jax.models import CLIPTextConfig, CLIPTextModel

CONFIG = CLIPTextConfig(
    hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=16, vocab_size=1000
)
LAST = "text_model.final_layer_norm.weight"

MEASURE = """
import json, re, sys
import jax, numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from img2img_jax.checkpoints import load_component
from img2img_jax.models import CLIPTextModel

def status(name):
    return 1024 * int(re.search(rf"{name}:\\s+(\\d+)", open("/proc/self/status").read())[1])

sharding = NamedSharding(Mesh(np.asarray(jax.devices()[:1]), ("data",)), PartitionSpec())
jax.block_until_ready(jax.device_put(np.zeros(3), sharding))
before = status("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
model = load_component(CLIPTextModel, sys.argv[1], dtype="bfloat16", sharding=lambda path, shape: sharding)
held = sum(leaf.nbytes for leaf in jax.block_until_ready(jax.tree.leaves(nnx.state(model))))
last = float(model.final_layer_norm.scale[...][-1])
print(json.dumps({"held": held, "peak": status("VmHWM") - before, "last": last}))
"""


@pytest.fixture
def large(tmp_path):
    """1.6 GB of float16 in a file with holes: zeros but for one number, which costs no time to write."""
    model = nnx.eval_shape(lambda: CLIPTextModel(CONFIG, rngs=nnx.Rngs(0)))
    header, offset = {}, 0
    for path, parameter in nnx.to_flat_state(nnx.state(model)):
        shape = torch_shape(path, parameter.shape)
        end = offset + 2 * int(np.prod(shape))
        header[f"text_model.{key_of(path)}"] = {"dtype": "F16", "shape": shape, "data_offsets": (offset, end)}
        offset = end
    encoded = json.dumps(header).encode()
    start = 8 + len(encoded)
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        file.truncate(start + offset)
        file.seek(start + header[LAST]["data_offsets"][1] - 2)
        file.write(np.float16(1.5).tobytes())
    (tmp_path / "config.json").write_text(json.dumps(CONFIG.to_dict()))
    return tmp_path


def test_peak_memory_is_at_most_a_fifth_above_the_weights(large):
    done = subprocess.run([sys.executable, "-c", MEASURE, large], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(f"{found['held'] / 1e9:.2f} GB held, peak {found['peak'] / found['held']:.3f} of that")
    assert found["held"] > 1.5e9 and found["last"] == 1.5
    assert 0.9 < found["peak"] / found["held"] <= 1.2
