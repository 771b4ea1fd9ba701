"""Compiles a model for a TPU slice, on a machine without a TPU, and prints what it takes.

python scripts/aot_report.py --model=sdxl --resolution=1024 --topology=v5e:4x4

Stable Diffusion's step takes minutes to compile; --cache keeps what was found. docs/tpu.md says what the figures mean.
"""

from pathlib import Path

from absl import app, flags

_MODEL = flags.DEFINE_string("model", "emoji", "emoji, sd15, sd21, sdxl, sdxl-refiner, or a checkpoint.")
_RESOLUTION = flags.DEFINE_integer("resolution", 512, "Side of the pictures in pixels.")
_TOPOLOGY = flags.DEFINE_string("topology", "v5e:1x1", "Slice: v5e:1x1 to v5e:16x16, v6e:4x4, v5p:2x2x1, ...")
_BATCH = flags.DEFINE_list("batch", ["4"], "Samples on each chip; several are compiled one after another.")
_STAGES = flags.DEFINE_list("stages", [], "Programs to compile; by default all that the model has.")
_DTYPE = flags.DEFINE_enum("dtype", "bfloat16", ["bfloat16", "float32"], "Of weights and computation.")
_ATTENTION = flags.DEFINE_enum("attention", "flash", ["flash", "products"], "How long attention is computed.")
_JSON = flags.DEFINE_string("json", None, "File for all figures.")
_MARKDOWN = flags.DEFINE_string("markdown", None, "File for the table that is printed.")
_CACHE = flags.DEFINE_string("cache", None, "Folder of figures found before, by program, slice and compiler.")
_IMAGES = flags.DEFINE_integer("images", None, "Plan a sweep over so many pictures ...")
_STRENGTHS = flags.DEFINE_list("strengths", ["0.2", "0.4", "0.6", "0.8", "1.0"], "... at each of these strengths.")
_STEPS = flags.DEFINE_integer("steps", 50, "Of the scheduler's grid in that sweep.")


def main(argv):
    del argv
    # After the flags: --help must not wait for JAX.
    import json
    import os

    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # nothing runs, and looking for a TPU takes its time

    from img2img_jax import aot, make_mesh

    networks = aot.Networks.of(_MODEL.value, dtype=_DTYPE.value, flash=_ATTENTION.value == "flash")
    devices = aot.slice_devices(_TOPOLOGY.value)
    figures = []
    for samples in map(int, _BATCH.value):
        for stage in aot.stages(
            networks,
            make_mesh(devices=devices),
            resolution=_RESOLUTION.value,
            samples=samples,
            names=_STAGES.value or aot.STAGES,
        ):
            figures.append(
                aot.measure(stage, _TOPOLOGY.value, _RESOLUTION.value, Path(_CACHE.value) if _CACHE.value else None)
            )
    heading = (
        f"{_MODEL.value}, {_RESOLUTION.value} px, {_DTYPE.value}, {_TOPOLOGY.value}: {len(devices)} chips of "
        f"{devices[0].device_kind}, figures of one chip; times are the compiler's estimates"
    )
    report = [heading, "", aot.as_markdown(figures)]
    if _IMAGES.value:
        sweep = aot.Sweep(images=_IMAGES.value, strengths=tuple(map(float, _STRENGTHS.value)), steps=_STEPS.value)
        report += ["", aot.plan_sweep(figures, sweep, networks.scheduler("ddim")).describe(sweep, len(devices))]
    text = "\n".join(report)
    print(text)
    if _MARKDOWN.value:
        Path(_MARKDOWN.value).write_text(text + "\n", encoding="utf-8")
    if _JSON.value:
        Path(_JSON.value).write_text(json.dumps(aot.as_json(figures), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main)
