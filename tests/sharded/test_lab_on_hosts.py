"""An experiment's command on two real processes with an engine each; one is killed while reference lines are made."""

import json
import signal

import numpy as np
import pytest
from PIL import Image

from img2img_jax.testing.tiny import tiny_pipeline

_SCRIPT = """
import contextlib
import os
import signal
import sys

index, count, _, model, data, workdir, cache, victim = sys.argv[1], sys.argv[2], *sys.argv[3:]
os.environ |= {"OMPI_COMM_WORLD_RANK": index, "OMPI_COMM_WORLD_SIZE": count}  # as mpirun does

import jax

jax.config.update("jax_compilation_cache_dir", cache)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)

from img2img_jax.lab import main, plots, reference_lines

replacing, begun = reference_lines.replacing, []


@contextlib.contextmanager
def dying(path):
    with replacing(path) as file:
        yield file
        begun.append(path)
        if len(begun) == 2:
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)


if index == victim:
    reference_lines.replacing = dying
plots.can_plot = lambda: False
sys.argv[1:] = [
    *("--config=configs/strength_sweep.py:tiny", f"--workdir={workdir}", f"--data={data}", f"--model={model}"),
    *("--config.height=16", "--config.width=16", "--config.batch_size=4", "--config.slots_per_device=2"),
    *("--config.strengths=(0.5, 1.0)", "--config.settings.num_inference_steps=(2,)"),
    *("--config.metrics=('l1',)", "--hosts=auto"),
]
main.main(lambda results: f"{len(results.rows)} and {len(results.references)}")
"""


@pytest.fixture(scope="module")
def start(on_hosts, tmp_path_factory):
    """Runs the command on so many hosts; gives exit codes, what was said, and the files that are left."""
    root = tmp_path_factory.mktemp("lab")
    tiny_pipeline(shallow=True).save_pretrained(root / "model")
    (root / "in").mkdir()
    for n in range(2):
        pixels = np.random.default_rng(n).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(root / "in" / f"{n}.png")
    lines = [json.dumps({"file_name": f"{n}.png", "prompt": "a"}) for n in range(2)]
    (root / "in" / "metadata.jsonl").write_text("\n".join(lines))

    def run(count, name, victim=-1):
        workdir = root / name / "run"  # its name is the report's title
        ended = on_hosts(_SCRIPT, count, root / "model", root / "in", workdir, root / "cache", victim)
        found = {str(path.relative_to(workdir)): path for path in workdir.rglob("*") if path.is_file()}
        own = {
            file: path.read_bytes()
            for file, path in found.items()
            if not file.startswith("hosts/") and path.name != "seconds.jsonl"
        }
        return [code for code, _ in ended], "\n".join(said for _, said in ended), own

    return run


def test_a_rerun_after_a_kill_among_the_reference_lines_leaves_the_files_of_one_host(start):
    codes, said, one = start(1, "one")
    assert codes == [0], said
    rows = [json.loads(line) for line in one["rows.jsonl"].splitlines()]
    assert sum("reference" in row for row in rows) == 4 + 4 + 2 and len(rows) == 8 + 10
    codes, said, killed = start(2, "two", victim=0)
    assert codes[0] == -signal.SIGKILL, said
    assert "rows/references.jsonl" not in killed
    assert [name.startswith("references/.") for name in sorted(killed) if name.startswith("references/")] == [
        True,
        False,
    ]
    codes, said, two = start(2, "two")
    assert codes == [0, 0], said
    assert two == one
