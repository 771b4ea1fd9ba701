"""The `img2img` command: transform a picture, or a folder of them, under a prompt.

img2img --image in.png --prompt "a green apple, 3d style" --strength 0.6 --output out.png
img2img --image in.png --prompt "a green apple" --strength 0.2,0.5,0.8 --seed 0,1 --output folder
img2img --image folder --output other_folder        (prompts from folder/metadata.jsonl)
img2img --image in.png --prompt "a green apple" --strength auto:ssim=0.7        (the strength that leaves this SSIM)
img2img --image in.png --prompt "a green apple" --strength change:0.4 --calibration ssim.json  (docs/calibration.md)
img2img --from_png out.png                          (the same picture again; other flags override)
"""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from absl import flags
from tqdm import tqdm

from img2img_jax import images, metadata, sweep
from img2img_jax.file_digest import file_sha256
from img2img_jax.inputs import MANIFEST, Input, find_inputs
from img2img_jax.options import OF_THE_MODEL, Options, define_flags, flag_of, loading_arguments, read_options
from img2img_jax.outputs import Sheet, plan_outputs

# Nothing heavy is imported above: --help and mistyped flags answer at once. JAX comes with the check of their values.


def main(argv: Sequence[str] | None = None, *, load_pipeline: Callable | None = None) -> int:
    """Runs the command.

    Args:
      argv: program name and arguments; None for the process's own.
      load_pipeline: makes the pipeline from keyword arguments `model`, `dtype`, `revision`, `variant` and, where they
        are given, `family`, `tokenizer`, `prediction_type`, `vae`, `loras` and `textual_inversions`; None for
        `Img2ImgPipeline.from_pretrained`. Tests put a small pipeline in here.

    Returns:
      The exit code: 0; 1 if something failed, be it one picture of many; 2 for unusable flags; 130 if interrupted.
    """
    values = define_flags()
    try:
        rest = values(list(sys.argv if argv is None else argv))[1:]
        if rest:
            raise flags.Error(f"unexpected argument {rest[0]!r}; every value needs its flag, lists have no spaces")
    except flags.Error as error:
        return _fail(error, 2)
    if values.help:
        print(__doc__ + values.module_help("img2img"))
        return 0
    try:
        return _run(values, load_pipeline or _from_pretrained)
    except flags.Error as error:
        return _fail(error, 2)
    except (ValueError, OSError) as error:
        if values.traceback:
            traceback.print_exc()
        return _fail(error, 1)
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):  # XLA's word for it
            raise
        return _fail("out of memory; a smaller --batch_size, --height, --width or --vae_tile_size takes less", 1)
    except KeyboardInterrupt:
        return _fail("interrupted; the pictures finished so far are kept", 130)


def _run(values: flags.FlagValues, load_pipeline: Callable) -> int:
    recorded = metadata.read_parameters(values.from_png) if values.from_png else None
    options = read_options(values, recorded)
    inputs = _inputs(options, recorded, values.from_png)
    outputs = plan_outputs(_output(values, inputs, options), inputs, options.strength, options.seed)
    if values.batch_size < 1:
        raise flags.IllegalFlagValueError(f"--batch_size {values.batch_size} is below 1; use 1 or more")
    images.background_color(options.background)
    if len(inputs) == 1:
        images.load_image(inputs[0].path)  # fail before the slow part, not after it

    pipe = load_pipeline(**loading_arguments(options))
    named = ("model", "dtype", "resize", "background", *OF_THE_MODEL)
    provenance = metadata.provenance(pipe.folder, **{name: getattr(options, name) for name in named})
    samples, failures = _load_samples(inputs, options, pipe)
    if recorded:
        _compare(recorded, provenance, samples, values)
    if options.calibration:
        now = dataclasses.asdict(options) | {"weights_sha256": provenance["weights_sha256"]}
        for difference in options.calibration.differences(now):
            _warn(f"--calibration {values.calibration} was fitted otherwise: {difference}")
    if options.target:
        samples, missed = _with_found_strengths(pipe, samples, options, values.batch_size)
        failures += missed
        strengths = [sample.strength for sample in samples]
        outputs = plan_outputs(_output(values, inputs, options), inputs, strengths or options.strength, options.seed)
    batches = sweep.make_batches(samples, values.batch_size)
    if recorded and len(samples) == 1 and not values["batch_size"].present:
        batches = [sweep.Batch(samples=samples, size=recorded.batch_size, first=recorded.batch_index)]
    settings = sweep.Settings(
        **{field.name: getattr(options, field.name) for field in dataclasses.fields(sweep.Settings)}
    )
    paths = [item.path for item in inputs]
    sheet = Sheet(paths, options.strength, _title(options), one_column=options.target is not None)
    outputs.folder.mkdir(parents=True, exist_ok=True)
    with tqdm(total=len(samples), unit="picture", desc="img2img") as bar:
        for result in sweep.run(pipe, batches, settings, provenance):
            path = outputs.path(result.sample.image, result.sample.strength, result.sample.seed)
            metadata.write_png(path, result.picture, result.parameters)
            sheet.add(result)
            bar.update()
            bar.write(str(path), file=sys.stdout)
            if recorded:
                _report_repeat(recorded, result, values.from_png)
    if outputs.sheet and samples:
        print(*sheet.write(outputs.sheet), sep="\n")
    return 1 if failures else 0


def _inputs(options: Options, recorded: metadata.Parameters | None, png: str | None) -> list[Input]:
    if not options.image:
        raise flags.IllegalFlagValueError("--image is missing: name a picture or a folder, or use --from_png")
    if recorded and options.image == recorded.image and not Path(options.image).exists():
        raise images.ImageError(
            f"{options.image}: the picture {png} was made from is no longer there; give its new place with --image"
        )
    inputs = find_inputs(options.image, options.prompt)
    if all(item.prompt is None for item in inputs):
        raise flags.IllegalFlagValueError(f"--prompt is missing: say what to make (folders: or in a {MANIFEST})")
    return inputs


def _output(values: flags.FlagValues, inputs: Sequence[Input], options: Options) -> Path:
    several = len(inputs) * len(options.strength) * len(options.seed) > 1
    source = Path(values.from_png) if values.from_png else None
    if not values.output:
        if source and not several:
            return source.with_name(f"{source.stem}_repeat.png")
        return Path("output" if several else "output.png")
    output = Path(values.output)
    if source and output.exists() and output.resolve() == source.resolve():
        raise ValueError(f"--output {output} would overwrite --from_png; choose another name")
    return output


def _load_samples(inputs: Sequence[Input], options: Options, pipe) -> tuple[list[sweep.Sample], int]:
    """The samples of all usable pictures, and the number of the others, each reported on standard error."""
    samples, failures = [], 0
    for item in inputs:
        try:
            if item.prompt is None:
                raise images.ImageError(f"{item.path}: no prompt in {MANIFEST}; add one there, or give --prompt")
            pixels = images.prepare(
                item.path,
                height=options.height,
                width=options.width,
                resize=options.resize,
                multiple=pipe.vae_scale_factor,
                background=options.background,
            )
        except images.ImageError as error:
            if len(inputs) == 1:
                raise
            failures += 1
            _fail(error, 1)
            continue
        _warn_if_large(item.path, pixels, pipe.native_size)
        digest = file_sha256(item.path)
        samples += [
            sweep.Sample(
                image=item.path, image_sha256=digest, pixels=pixels, prompt=item.prompt, strength=strength, seed=seed
            )
            for strength in options.strength
            for seed in options.seed
        ]
    return samples, failures


def _with_found_strengths(
    pipe, samples: list[sweep.Sample], options: Options, batch_size: int
) -> tuple[list[sweep.Sample], int]:
    """The samples at the strengths that reach the target, and how many cannot; these are reported on standard error."""
    from img2img_jax import find_strength

    shared = ("num_inference_steps", "guidance_scale", "negative_prompt", "scheduler", "noise_at_one")
    reading = ("eta", "guidance_rescale", "prompt_syntax", "clip_skip", "vae_tile_size")
    settings = {name: getattr(options, name) for name in (*shared, *reading)}
    points, placed, failures = min(2, batch_size), [], 0
    for batch in sweep.make_batches(samples, batch_size // points):
        rows = batch.rows()
        found = find_strength(
            pipe,
            np.stack([row.pixels for row in rows]),
            [row.prompt for row in rows],
            target={options.target.metric: options.target.asked},
            seed=[row.seed for row in rows],
            points=points,
            **settings,
        )
        for sample, each in zip(batch.samples, found, strict=False):
            if not each.reached:
                failures += 1
                _fail(f"{sample.image}, seed {sample.seed}: {each.problem}", 1)
                continue
            value = f"{each.target.metric} {each.value:.4g} at strength {each.strength:g}"
            tried = f"{each.evaluations} strengths tried"
            tqdm.write(f"img2img: {sample.image}, seed {sample.seed}: {value} ({tried})", file=sys.stderr)
            placed.append(dataclasses.replace(sample, strength=each.strength))
    return placed, failures


def _warn_if_large(path: Path, pixels: np.ndarray, native_size: int) -> None:
    height, width = pixels.shape[:2]
    if height * width > 4 * native_size**2:
        side = "--height" if height < width else "--width"
        _warn(
            f"{path} is worked on at {width}x{height}, the model was trained at {native_size}x{native_size}:"
            f" slow, and seldom good; {side} {native_size} brings it near"
        )


def _compare(recorded: metadata.Parameters, provenance: dict, samples, values: flags.FlagValues) -> None:
    """Warns of everything that may keep a repeated picture from being the same, unless it was asked for."""
    for sample in samples[:1]:
        if sample.image_sha256 != recorded.image_sha256:
            _warn(f"{sample.image} is not, or no longer, the picture {values.from_png} was made from (sha256)")
    asked = any(flag_of(values, name).present for name in ("model", *OF_THE_MODEL))
    if provenance["weights_sha256"] != recorded.weights_sha256 and not asked:
        _warn(f"the weights of {recorded.model or 'the embedded model'} changed since {values.from_png} was made")
    now = provenance["versions"]
    changed = [f"{k} {v} -> {now.get(k, 'none')}" for k, v in recorded.versions.items() if now.get(k) != v]
    if changed:
        _warn(f"other software than for {values.from_png} ({', '.join(changed)}): pixels may differ slightly")


def _report_repeat(recorded: metadata.Parameters, result: sweep.Result, png: str) -> None:
    """Says whether a repeated picture is the same; silent where other parameters were asked for."""
    place_and_time = {"image": "", "versions": {}}
    before, after = (dataclasses.replace(p, **place_and_time) for p in (recorded, result.parameters))
    if before != after:
        return
    old, new = (np.asarray(images.load_image(picture), np.int16) for picture in (png, result.picture))
    if old.shape != new.shape:
        _warn(f"{png} has another size now than when it was made")
    elif (old != new).any():
        differing = (old != new).any(-1)
        _warn(f"{differing.sum()} of {differing.size} pixels differ from {png}, by up to {abs(old - new).max()} of 255")
    else:
        tqdm.write(f"img2img: the same pixels as in {png}", file=sys.stderr)


def _title(options: Options) -> str:
    steps = f"{options.num_inference_steps} steps, guidance {options.guidance_scale:g}, {options.strength_mode}"
    return f"img2img: {options.model or 'embedded model'}, {options.scheduler or 'own scheduler'}, {steps}"


def _from_pretrained(*, model, dtype, **hub):
    from img2img_jax import Img2ImgPipeline

    given = {name: value for name, value in hub.items() if value is not None}
    return Img2ImgPipeline.from_pretrained(*([model] if model else []), dtype=dtype, **given)


def _fail(error, code: int) -> int:
    tqdm.write(f"img2img: error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def _warn(message: str) -> None:
    tqdm.write(f"img2img: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
