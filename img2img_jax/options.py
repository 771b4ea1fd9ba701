"""The flags of the `img2img` command, and what they and a repeated picture's parameters amount to."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from absl import flags

from img2img_jax import images, metadata
from img2img_jax.finder.target import PREFIX, Target
from img2img_jax.inputs import MANIFEST

if TYPE_CHECKING:
    from img2img_jax.finder.calibration import Calibration


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The flags, with what `--from_png` recorded where a flag was not given."""

    image: str | None
    prompt: str | None
    strength: tuple[float, ...]
    target: Target | None
    calibration: Calibration | None
    seed: tuple[int, ...]
    negative_prompt: str | None
    num_inference_steps: int
    guidance_scale: float
    scheduler: str | None
    strength_mode: str
    noise_at_one: str
    eta: float
    guidance_rescale: float
    prompt_syntax: str
    clip_skip: int
    vae_tile_size: int | None
    resize: str
    height: int | None
    width: int | None
    background: str
    model: str | None
    revision: str | None
    variant: str | None
    dtype: str
    family: str | None
    tokenizer: str | None
    prediction_type: str | None
    vae: str | None
    loras: tuple[str, ...]
    textual_inversions: tuple[str, ...]


CHANGE = "change:"

# Options whose flag has another name.
_FLAG_OF = {"num_inference_steps": "steps", "loras": "lora", "textual_inversions": "textual_inversion"}
OF_THE_MODEL = (
    "revision",
    "variant",
    "family",
    "tokenizer",
    "prediction_type",
    "vae",
    "loras",
    "textual_inversions",
)
"""What is said of one checkpoint and would be nonsense of another."""


def define_flags() -> flags.FlagValues:
    """The command's flags, apart from absl's global ones, so that importing this module claims no names."""
    values = flags.FlagValues()
    common = {"flag_values": values, "module_name": "img2img"}

    def text(name, default, help):
        flags.DEFINE_string(name, default, help, **common)

    text("image", None, f"The picture to start from, or a folder of pictures (prompts in its {MANIFEST}).")
    text("prompt", None, "What the picture is to become.")
    text("negative_prompt", None, "What it is not to become.")
    text(
        "strength",
        "0.8",
        "How far to go, 0 (the input) to 1 (nothing of it left); several: 0.2,0.5,0.8; or auto:ssim=0.7, a metric"
        " of docs/metrics.md and the value to reach, each picture with its own strength; or change:0.4, the expected"
        " change of a --calibration, 0 to 1 as well; several: change:0.2,0.4.",
    )
    text("calibration", None, "File of scripts/calibrate.py, for --strength change:0.4.")
    text("seed", "0", "Random seed, 0 to 4294967295; several: 0,1,2.")
    text("output", None, "PNG file, or folder for several pictures. Default: output.png, or output/.")
    text("from_png", None, "Repeat this picture, made by img2img; other flags override its parameters.")
    text("model", None, "Folder or .safetensors file, here or at an address, hub id, emoji (default) or emoji-lcm.")
    text("revision", None, "Branch, tag or commit on the hub.")
    text("variant", None, 'Variant of the weight files, such as "fp16".')
    flags.DEFINE_multi_string(
        "lora", [], "LoRA file to merge in, as path or path:weight; repeat the flag for several.", **common
    )
    flags.DEFINE_multi_string(
        "textual_inversion", [], "Embedding, as path or path:token; repeat the flag for several.", **common
    )
    text("vae", None, "Folder, file or hub id of a VAE in place of the model's.")
    text("tokenizer", None, "Folder or hub id of a CLIP tokenizer in place of the model's.")
    text("family", None, "Of a single file: sd1, sd2, sdxl or sdxl-refiner. Default: recognised by its keys.")
    text("prediction_type", None, "epsilon, v_prediction or sample, in place of the model's.")
    text("scheduler", None, 'Sampler: "ddim", "euler_a", "dpmpp_2m_karras", ... Default: the checkpoint\'s own.')
    text("background", "white", 'Colour behind transparency and for padding: a name or "#rrggbb".')
    flags.DEFINE_integer("steps", 50, "Inference steps.", **common)
    flags.DEFINE_float("guidance_scale", 7.5, "Classifier-free guidance; 1 switches it off.", **common)
    share = {"lower_bound": 0.0, "upper_bound": 1.0, **common}
    flags.DEFINE_float("guidance_rescale", 0.0, "Against the glare of high guidance (2305.08891).", **share)
    flags.DEFINE_float("eta", 0.0, "Share of DDPM's noise that ddim adds.", **share)
    flags.DEFINE_integer("height", None, "Pixels. Default: the picture's own, rounded down.", **common)
    flags.DEFINE_integer("width", None, "Pixels. Default: the picture's own, rounded down.", **common)
    flags.DEFINE_integer("clip_skip", 0, "Last layers of the text encoder to leave out.", **common)
    flags.DEFINE_integer("vae_tile_size", None, "Pixels of the tiles for large pictures; 512 suits most.", **common)
    flags.DEFINE_integer("batch_size", 8, "Most pictures in one batch.", **common)
    modes = ["truncate", "exact", "continuous"]
    flags.DEFINE_enum("strength_mode", "truncate", modes, "How strength sets start and steps.", **common)
    flags.DEFINE_enum("noise_at_one", "pure", ["pure", "leak"], "Start at strength 1.", **common)
    syntaxes = ["plain", "a1111"]
    flags.DEFINE_enum("prompt_syntax", "plain", syntaxes, "a1111 reads (word:1.3) and long prompts.", **common)
    flags.DEFINE_enum("resize", "crop", list(images.RESIZE_POLICIES), "How to bring to size.", **common)
    flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of the networks.", **common)
    flags.DEFINE_boolean("traceback", False, "Show where in the code an error arose.", **common)
    flags.DEFINE_boolean("help", False, "Show this help.", short_name="h", **common)
    return values


def flag_of(values: flags.FlagValues, name: str) -> flags.Flag:
    """The flag that an option is read from."""
    return values[_FLAG_OF.get(name, name)]


def read_options(values: flags.FlagValues, recorded: metadata.Parameters | None) -> Options:
    """The options that the flags, and the picture to repeat if there is one, amount to.

    What can be checked without the model is checked here, before it is loaded and before any picture is made.

    Raises:
      absl.flags.Error: flags that do not go together, a list that cannot be read, or a value out of its range.
      OSError, ValueError: a calibration that cannot be read.
    """
    options: dict = {"target": _target(values), "calibration": _calibration(values)}
    for field in dataclasses.fields(Options):
        if field.name in ("target", "calibration"):
            continue
        flag = flag_of(values, field.name)
        value = flag.value
        if recorded and not flag.present:
            value = getattr(recorded, field.name)
            if field.name in ("strength", "seed"):
                value = (value,)
        elif field.name == "strength" and options["target"]:
            value = (0.5,)  # until the pictures are there and theirs are found
        elif field.name == "strength" and options["calibration"]:
            changes = _numbers(flag.name, value.removeprefix(CHANGE), float)
            value = tuple(map(options["calibration"].typed, changes))
        elif field.name in ("strength", "seed"):
            value = _numbers(flag.name, value, float if field.name == "strength" else int)
        options[field.name] = value
    if values["model"].present:
        options |= {name: flag_of(values, name).value for name in OF_THE_MODEL}
    if options["target"]:
        options["strength_mode"] = "continuous"  # as they are found
    for name in ("model", "scheduler", "family", "tokenizer", "prediction_type", "vae"):
        options[name] = options[name] or None  # --scheduler= asks for the default again
    for name in ("tokenizer", "vae"):
        if options[name] and os.path.exists(options[name]):  # else a hub id
            options[name] = os.path.abspath(options[name])
    for name, split in (("loras", metadata.split_lora), ("textual_inversions", metadata.split_textual_inversion)):
        pairs = (split(text) for text in options[name] if text)  # --lora= asks for none
        options[name] = tuple(metadata.with_absolute_path(*pair) for pair in pairs)
    _check(options)
    return Options(**options)


def loading_arguments(options: Options) -> dict[str, object]:
    """How the pipeline is to be loaded: `model` and arguments of `Img2ImgPipeline.from_pretrained`."""
    loading = {name: getattr(options, name) for name in ("model", "dtype", "revision", "variant")}
    embeddings = [
        (path, token) if token is not None else path
        for path, token in map(metadata.split_textual_inversion, options.textual_inversions)
    ]
    optional = {name: getattr(options, name) for name in ("family", "tokenizer", "prediction_type", "vae")}
    optional |= {"loras": [metadata.split_lora(text) for text in options.loras], "textual_inversions": embeddings}
    return loading | {name: value for name, value in optional.items() if value}


def _target(values: flags.FlagValues) -> Target | None:
    """What `--strength` asks to be reached, or None for numbers."""
    if not values.strength.startswith(PREFIX):
        return None
    if values["strength_mode"].present and values.strength_mode != "continuous":
        raise flags.IllegalFlagValueError(
            f"--strength_mode {values.strength_mode} does not go with --strength {values.strength}, whose strengths are"
            " found in continuous mode; leave it out"
        )
    from img2img_jax.metrics import Evaluator  # slow, and only those who ask for a metric need it

    try:
        target = Target.parse(values.strength)
        Evaluator({}).only(target.metric)
    except ValueError as error:
        raise flags.IllegalFlagValueError(f"--strength {error}") from None
    return target


def _calibration(values: flags.FlagValues) -> Calibration | None:
    """What `--strength change:` is read by, or None for numbers."""
    if values.strength.startswith(CHANGE) != bool(values.calibration):
        raise flags.IllegalFlagValueError(
            f"--strength {values.strength} and --calibration {values.calibration}: {CHANGE}0.4 needs a calibration"
            " (scripts/calibrate.py fits one), and is what one is for"
        )
    if not values.calibration:
        return None
    from img2img_jax.finder.calibration import Calibration

    return Calibration.load(values.calibration)


def _check(options: Mapping[str, Any]) -> None:
    """Has the values looked at by those who will take them; a message of theirs begins with the flag's name."""
    from img2img_jax import rng  # slow: it brings JAX
    from img2img_jax.diffusion.scheduler import Scheduler
    from img2img_jax.diffusion.strength import per_sample

    try:
        per_sample(options["strength"])
        rng.uint32("seed", options["seed"])
        if options["scheduler"]:
            Scheduler.from_config({}, options["scheduler"])
    except ValueError as error:
        raise flags.IllegalFlagValueError(f"--{error}") from None


def _numbers(name: str, text: str, kind: type) -> tuple:
    try:
        return tuple(dict.fromkeys(kind(part) for part in text.split(",")))  # in order, each once
    except ValueError:
        example = "0.6, or 0.2,0.5,0.8" if kind is float else "0, or 0,1,2"
        raise flags.IllegalFlagValueError(f"--{name} {text!r} is no list of numbers; write {example}") from None
