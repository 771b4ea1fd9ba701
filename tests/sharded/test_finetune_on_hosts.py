"""scripts/finetune.py as Slurm starts it, on two real processes that train together: what one with two devices gets."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from img2img_jax.testing.tiny import tiny_pipeline

_SCRIPT = """
import os
import runpy
import sys

index, count, address, file, model, data, output, cache = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]
os.environ |= {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
if count > 1:
    # JAX's port is one of the last 4096, by the job's number.
    os.environ |= {"SLURM_JOB_ID": str(int(address.split(":")[1]) % 4096), "SLURM_STEP_NODELIST": "127.0.0.1"}
    os.environ |= {"SLURM_NTASKS": str(count), "SLURM_STEP_NUM_TASKS": str(count)}
    os.environ |= {"SLURM_PROCID": index, "SLURM_LOCALID": index}

from img2img_jax.partition import PARTITION

object.__setattr__(PARTITION, "smallest", 64)  # or nothing of so small a network would be split
sys.argv = [
    *(file, f"--data={data}", f"--output={output}", f"--model={model}", f"--hosts={'auto' if count > 1 else 'one'}"),
    *("--fsdp=2", "--batch_size=2", "--steps=3", "--lora_rank=2", "--lora_targets=attention"),
]
runpy.run_path(file, run_name="__main__")
"""


@pytest.fixture(scope="module")
def tune(on_hosts, tmp_path_factory):
    """Adapters and the mean loss of a training on so many hosts of so many devices."""
    root = tmp_path_factory.mktemp("tuning")
    tiny_pipeline(shallow=True).save_pretrained(root / "model")
    (root / "in").mkdir()
    for n in range(3):
        pixels = np.random.default_rng(n).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(root / "in" / f"{n}.png")
    lines = [json.dumps({"file_name": f"{n}.png", "text": "abc"[n]}) for n in range(3)]
    (root / "in" / "metadata.jsonl").write_text("\n".join(lines))

    def run(count, devices):
        script, output = Path(__file__).parents[2] / "scripts" / "finetune.py", root / f"{count}.safetensors"
        given = script, root / "model", root / "in", output, root / "cache"
        for code, said in on_hosts(_SCRIPT, count, *given, devices=devices):
            assert code == 0, said
        [line] = (root / f"{count}.safetensors.run" / "metrics.jsonl").read_text().splitlines()
        return load_file(output), json.loads(line)["loss"]

    return run


def test_two_hosts_tune_as_one_with_two_devices(tune):
    (two, loss), (one, wanted) = tune(2, devices=1), tune(1, devices=2)
    assert loss == pytest.approx(wanted, rel=1e-5)
    assert two.keys() == one.keys() and any(leaf.any() for name, leaf in two.items() if "up" in name)
    for name, leaf in one.items():
        np.testing.assert_allclose(two[name], leaf, rtol=1e-4, atol=1e-6)
