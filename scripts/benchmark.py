"""Times this package and its peers on the same checkpoint, pictures, noise and steps, in turn, in one run.

python scripts/benchmark.py --suite=quick
python scripts/benchmark.py --suite=sd15 --peers=torch,torch_bf16 --sizes=256,512 --works=unet_step --json=sd15.json
python scripts/benchmark.py --suite=embedded --works=sweep --peers=flax --flax_python=old/bin/python

Needs torch, diffusers and transformers. Results must agree before they are timed. A ratio says how many times as much
the peer takes. The first picture of a process is timed with the compilation cache as it is, and with an empty one.
The peer flax is diffusers' Flax pipeline, which is gone: it runs in an environment of its time (docs/performance.md).
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from absl import app, flags

SUITES = {
    "quick": ("unet_step", "vae_encode", "vae_decode", "picture", "cold_start"),
    "embedded": ("unet_step", "vae_encode", "vae_decode", "picture", "sweep", "train_step", "cold_start"),
    "sd15": ("unet_step", "vae_encode", "vae_decode", "picture", "cold_start"),
    "sdxl": ("unet_step",),
}
SIZES = {"sd15": ["256", "512"], "sdxl": ["1024"]}
BOUNDS = {"torch": 1e-3, "torch_compile": 1e-3, "torch_bf16": 0.2, "flax": 1e-3}
"""Relative error up to which a peer does the same work; bfloat16 has 8 bits."""

_SUITE = flags.DEFINE_enum("suite", "quick", list(SUITES), "The embedded model, or Stable Diffusion's shapes.")
_WORKS = flags.DEFINE_list("works", None, "Some works of the suite; all by default.")
_PEERS = flags.DEFINE_list("peers", ["torch"], "torch, torch_compile, torch_bf16, flax.")
_FLAX_PYTHON = flags.DEFINE_string("flax_python", None, "Python of the environment that the peer flax needs.")
_SIZES = flags.DEFINE_list("sizes", None, f"Sides in pixels; by default the embedded model's, and {SIZES}.")
_PICTURES = flags.DEFINE_integer("pictures", 20, "Pictures in the sweep over ten strengths.")
_BATCH = flags.DEFINE_integer("train_pictures", 16, "Half the batch of the training step.")
_STEPS = flags.DEFINE_integer("steps", None, "Of a picture; by default 20, and 4 for the suite sd15.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Times that each work is done by each side.")
_FOLDER = flags.DEFINE_string("folder", None, "Where the suite sd15 keeps its checkpoint; by default it is not kept.")
_CLOCK = flags.DEFINE_enum("clock", "wall", ["wall", "cpu"], "cpu: seconds of all cores, where others use them too.")
_JSON = flags.DEFINE_string("json", None, "File for the records.")


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    works = _WORKS.value or SUITES[_SUITE.value]
    if unknown := set(works) - set(SUITES[_SUITE.value]):
        raise app.UsageError(f"--works: {sorted(unknown)} not in the suite {_SUITE.value}: {SUITES[_SUITE.value]}")
    if unknown := set(_PEERS.value) - set(BOUNDS):
        raise app.UsageError(f"--peers: {sorted(unknown)} not known; known: {sorted(BOUNDS)}")
    from img2img_jax.benchmarks.comparison import markdown

    with flax_process(works) as flax, tempfile.TemporaryDirectory() as folder:
        done = []
        for comparison in run(works, _PEERS.value, folder, flax):
            print(comparison.row(), flush=True)
            done.append(comparison)
            if _JSON.value:
                records = [done_before.record() for done_before in done]
                Path(_JSON.value).write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    print("\n" + markdown(done))


def flax_process(works):
    """A context with the process of the peer flax, if it is asked for, or with None."""
    if "flax" not in _PEERS.value:
        return contextlib.nullcontext()
    if _PEERS.value != ["flax"] or works != ["sweep"]:
        # Another peer's or work's run would leave our side with compiled programs before its first sweep.
        raise app.UsageError("--peers: flax does only a sweep, alone; use --suite=embedded --works=sweep --peers=flax")
    if not _FLAX_PYTHON.value:
        raise app.UsageError("--peers=flax needs --flax_python, the Python of an old environment: docs/performance.md")
    from benchmark_child import Child

    # The peer compiles in every process; neither side may read what an earlier one has compiled.
    os.environ["IMG2IMG_JAX_CACHE"] = "off"
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    return Child(_FLAX_PYTHON.value)


def run(works, peers, scratch, flax):
    import torch
    from benchmark_torch import make_leading, make_sd15

    from img2img_jax.checkpoints import EMBEDDED_MODEL

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    suite, sizes, clock = _SUITE.value, _SIZES.value or SIZES.get(_SUITE.value, ["64"]), _CLOCK.value
    folder = make_sd15(_FOLDER.value or Path(scratch) / "sd15") if suite == "sd15" else EMBEDDED_MODEL
    if flax:
        print("flax:", ", ".join(" ".join(pair) for pair in flax.ask("versions").items()), flush=True)
        folder, clock = make_leading(Path(scratch) / "leading"), {"cpu": flax.cpu_seconds}.get(clock, clock)
    steps = _STEPS.value or (4 if suite == "sd15" else 20)
    if "cold_start" in works:
        for size in sizes:
            yield from cold_start(folder, size, steps, scratch)
    if works := [work for work in works if work != "cold_start"]:
        pipe, peer_works = networks(folder, flax)
        for size, peer, name in itertools.product(map(int, sizes), peers, works):
            if name != "train_step" or peer == "torch":
                yield from compared(name, size, peer, pipe, peer_works, steps, clock)


def networks(folder, flax):
    """Our pipeline, and a function from inputs and a peer's name to the peer's works."""
    from benchmark_child import FlaxWorks
    from benchmark_torch import TorchWorks, load, same_unet

    from img2img_jax import Img2ImgPipeline

    if flax:
        return Img2ImgPipeline.from_pretrained(folder), lambda inputs, peer: FlaxWorks(flax, folder, inputs)
    if _SUITE.value == "sdxl":
        pipe = SimpleNamespace(unet=sdxl_unet(), vae_scale_factor=8)
        reference = SimpleNamespace(unet=same_unet(pipe.unet))
    else:
        pipe, reference = Img2ImgPipeline.from_pretrained(folder), load(folder)
    return pipe, partial(TorchWorks, reference)


def sdxl_unet():
    """SDXL's UNet with random weights, in memory alone: 10 GB."""
    import numpy as np

    from img2img_jax.checkpoints.families import FAMILIES
    from img2img_jax.models import UNet2DConditionConfig, UNet2DConditionModel
    from img2img_jax.testing.tiny import random_model

    config = UNet2DConditionConfig.from_dict(FAMILIES["sdxl"].components["unet"])
    return random_model(UNet2DConditionModel, config, np.random.default_rng(0))


def compared(name, size, peer, pipe, peer_works, steps, clock):
    """The comparisons of one work: of a sweep two, its first time and later ones."""
    from img2img_jax.benchmarks.comparison import Comparison, compare, timed
    from img2img_jax.benchmarks.works import STRENGTHS, Inputs, Works
    from img2img_jax.host_memory import default_malloc

    count = {"sweep": _PICTURES.value, "train_step": _BATCH.value}.get(name, 1)
    inputs = Inputs.draw(pipe.unet.config, count=count, side=size, factor=pipe.vae_scale_factor)
    options = {"steps": steps} if name == "picture" else {}
    ours, theirs = (getattr(side, name)(**options) for side in (Works(pipe, inputs), peer_works(inputs, peer)))
    # A process of the peer's users has not imported this package, which changes malloc.
    sides = ours, default_malloc()(theirs)
    label, rounds = f"{name}, {size} px", _ROUNDS.value
    if name == "sweep":
        label, rounds = f"{len(STRENGTHS)} strengths of {count} pictures", max(1, rounds // 2)
        first = [timed(side, clock)[0] for side in sides]
        yield Comparison(work=f"{label}, compiled", peer=peer, ours=(first[0],), peer_took=(first[1],))
    yield compare(label, peer, *sides, rounds=rounds, bound=BOUNDS[peer], clock=clock)


def cold_start(folder, size, steps, scratch):
    """The first picture of a process: with an empty compilation cache, and with a filled one; and peak memory."""
    from img2img_jax.benchmarks.comparison import Comparison

    script = Path(__file__).with_name("benchmark_cold.py")
    caches = {**os.environ, "IMG2IMG_JAX_CACHE": str(Path(scratch) / f"cache_{size}")}

    def measure(side):
        command = [sys.executable, str(script), f"--side={side}", f"--folder={folder}", f"--size={size}"]
        output = subprocess.run([*command, f"--steps={steps}"], env=caches, check=True, capture_output=True, text=True)
        return json.loads(output.stdout.splitlines()[-1])

    empty, theirs, filled = measure("ours"), measure("torch"), measure("ours")
    for label, ours in (("empty", empty), ("filled", filled)):
        yield Comparison(
            work=f"first picture, {size} px, {label} cache",
            peer="torch",
            ours=(ours["seconds"],),
            peer_took=(theirs["seconds"],),
        )
    yield Comparison(
        work=f"peak memory of a process, {size} px",
        peer="torch",
        ours=(filled["peak_mib"],),
        peer_took=(theirs["peak_mib"],),
        unit="MiB",
    )


if __name__ == "__main__":
    app.run(main)
