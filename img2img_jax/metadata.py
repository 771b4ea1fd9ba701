"""The parameters of a picture, kept inside its PNG file, so that the picture can be made again.

Two text chunks are written: `img2img`, JSON for machines (everything in `Parameters`), and `parameters`, a
few lines for people and for the viewers that show a chunk of that name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from img2img_jax.file_digest import file_sha256
from img2img_jax.images import open_image

CHUNK = "img2img"
FORMAT = 1
LOADED = ("vae", "unet", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
"""Folders of a checkpoint that a pipeline loads."""


class MetadataError(ValueError):
    """A file without usable parameters; the message names it and says what to do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameters:
    """Everything needed to make a picture again, pixel for pixel.

    Attributes:
      image, image_sha256: absolute path of the input picture file, and the digest of its bytes.
      resize, height, width, background: how the input was brought to size (see `images.prepare`), in pixels.
      prompt, negative_prompt, strength, strength_mode, noise_at_one, seed, num_inference_steps,
        guidance_scale, scheduler, eta, guidance_rescale, prompt_syntax, clip_skip, vae_tile_size: as passed to the
        pipeline, for this one sample.
      model, revision, variant, dtype: as passed to `from_pretrained`; `model` None is the embedded one, and a
        hub revision is the commit it resolved to.
      weights_sha256: digest over the checkpoint's files and the other files its weights come from (see
        `weights_sha256`).
      batch_size, batch_index: the shape of the compiled batch and this sample's place in it. Noise does not
        depend on them, but compiled float arithmetic may in the last bit, and so may a pixel.
      start: the resolved start, as a mapping of the `ResolvedStart` fields.
      versions: package name -> version, and "platform" -> device kind, for what was at work.
      loras: merged into the weights, each as `path:weight` with an absolute path.
      textual_inversions: each as `path` or `path:token`, likewise.
      vae, tokenizer, family, prediction_type: as passed to `from_pretrained`, paths absolute; None is the checkpoint's.
    """

    image: str
    image_sha256: str
    resize: str
    height: int
    width: int
    background: str
    prompt: str
    negative_prompt: str | None
    strength: float
    strength_mode: str
    noise_at_one: str
    seed: int
    num_inference_steps: int
    guidance_scale: float
    scheduler: str | None
    model: str | None
    revision: str | None
    variant: str | None
    dtype: str
    weights_sha256: str
    batch_size: int
    batch_index: int
    start: Mapping[str, object]
    versions: Mapping[str, str]
    # Younger than the format: what a file does not mention was so.
    eta: float = 0.0
    guidance_rescale: float = 0.0
    prompt_syntax: str = "plain"
    clip_skip: int = 0
    vae_tile_size: int | None = None
    loras: tuple[str, ...] = ()
    textual_inversions: tuple[str, ...] = ()
    vae: str | None = None
    tokenizer: str | None = None
    family: str | None = None
    prediction_type: str | None = None


def write_png(path: str | os.PathLike, image: Image.Image, parameters: Parameters) -> None:
    """Writes the picture with its parameters; the file appears whole or not at all."""
    info = PngInfo()
    info.add_text(CHUNK, _encode(parameters))
    info.add_itxt("parameters", summary(parameters))
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        image.save(unfinished, format="PNG", pnginfo=info)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_parameters(path: str | os.PathLike) -> Parameters:
    """Reads the parameters back from a file of `write_png`.

    Raises:
      ImageError: the file is missing or no picture.
      MetadataError: it carries no parameters, or such as this version cannot read.
    """
    with open_image(path) as image:
        if image.format == "PNG":
            image.load()  # text chunks may stand behind the pixels
        text = getattr(image, "text", {}).get(CHUNK)
    if text is None:
        raise MetadataError(
            f"{path}: carries no img2img parameters (never written by img2img, or removed by an editor or a"
            " website that re-encoded it); use the original file, or give --image and --prompt"
        )
    try:
        return _decode(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MetadataError(
            f"{path}: its img2img parameters cannot be read ({error}); update img2img_jax if a newer version"
            " wrote the file, otherwise give the parameters as flags"
        ) from error


def _encode(parameters: Parameters) -> str:
    fields = dataclasses.asdict(parameters)
    # JSON has no infinity, and the log-SNR of a clean picture is one.
    fields["start"] = {name: str(v) if v in _INFINITE else v for name, v in parameters.start.items()}
    # ASCII escapes keep whatever is in a prompt (line breaks, emoji, even broken UTF-8) out of PNG's Latin-1.
    return json.dumps({"format": FORMAT, **fields}, ensure_ascii=True, allow_nan=False)


def _decode(text: str) -> Parameters:
    fields = json.loads(text)
    if fields.pop("format") != FORMAT:
        raise ValueError(f"their format is not {FORMAT}")
    infinite = {str(v): v for v in _INFINITE}
    fields["start"] = {name: infinite.get(v, v) for name, v in fields["start"].items()}
    for name in ("loras", "textual_inversions"):
        fields[name] = tuple(fields.get(name, ()))  # files of the first version have none
    return Parameters(**fields)


_INFINITE = (float("inf"), float("-inf"))


def summary(parameters: Parameters) -> str:
    """The parameters in three or more lines for people: prompt, negative prompt if any, and the settings."""
    p = parameters
    start = {name: p.start[name] for name in ("timestep", "log_snr", "steps") if name in p.start}
    settings = {
        "Steps": p.num_inference_steps,
        "Sampler": p.scheduler or "the checkpoint's own",
        "CFG scale": p.guidance_scale,
        "Seed": p.seed,
        "Size": f"{p.width}x{p.height}",
        "Model": p.model or "embedded",
        "Model hash": p.weights_sha256[:10],
        **({"Loras": " ".join(p.loras)} if p.loras else {}),
        **({"Textual inversions": " ".join(p.textual_inversions)} if p.textual_inversions else {}),
        **({"VAE": p.vae} if p.vae else {}),
        "Denoising strength": p.strength,
        "Strength mode": p.strength_mode,
        **{f"Start {name}": value for name, value in start.items()},
    }
    lines = [p.prompt, *([f"Negative prompt: {p.negative_prompt}"] if p.negative_prompt else [])]
    text = "\n".join([*lines, ", ".join(f"{name}: {value}" for name, value in settings.items())])
    # What a PNG text chunk cannot hold (lone surrogates, NUL) is exact in the JSON chunk.
    return text.encode("utf-8", "replace").decode().replace("\0", "?")


def weights_sha256(checkpoint: str | os.PathLike, others: Sequence[str | os.PathLike] = ()) -> str:
    """Hex digest over a checkpoint (the names and bytes of its weights, configs and tokenizer files) and others.

    Each of them is a folder or a single file; what is neither, such as a hub id, has no part in it. Of a pipeline's
    folder only what is loaded counts: not its card, its evaluation, a safety checker or the CLIP it was judged by.
    """
    digest = hashlib.sha256()
    for part in map(Path, (checkpoint, *others)):
        if part.is_file():
            digest.update(f"{part.name} {file_sha256(part)}\n".encode())
        parts = [part / name for name in LOADED if (part / name).is_dir()]
        paths = [part / "model_index.json", *(path for each in parts for path in each.rglob("*"))]
        for path in sorted(paths if parts else part.rglob("*")):
            if path.is_file() and path.suffix in (".safetensors", ".json", ".txt"):
                digest.update(f"{path.relative_to(part).as_posix()} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that have a say in the pixels."""
    versions = {}
    for name in ("img2img_jax", "jax", "jaxlib", "flax", "numpy", "pillow"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # running from a source tree that was not installed
            versions[name] = "not installed"
    return versions


def split_lora(lora: str | os.PathLike | tuple[str | os.PathLike, float]) -> tuple[str, float]:
    """Path and weight of `path:weight`, or of the pair that `from_pretrained` takes.

    Without a weight (or with a drive's colon only) it is 1.
    """
    if isinstance(lora, tuple | list):
        path, weight = lora
        return os.fspath(path), weight
    text = os.fspath(lora)
    path, colon, weight = text.rpartition(":")
    try:
        return (path, float(weight)) if colon else (text, 1.0)
    except ValueError:
        return text, 1.0


def split_textual_inversion(text: str) -> tuple[str, str | None]:
    """Path and token of `path:token`; what has a slash in it is no token but the rest of a path."""
    path, colon, token = text.rpartition(":")
    return (path, token) if colon and token and not set(token) & set("/\\") else (text, None)


def with_absolute_path(path: str, detail: float | str | None = None) -> str:
    """`path:weight` or `path:token`, or the path alone, as `Parameters` holds them: split ones put together again."""
    return os.path.abspath(os.path.expanduser(path)) + (f":{detail}" if detail is not None else "")


def provenance(
    folder: str | os.PathLike,
    *,
    model: str | None,
    revision: str | None,
    variant: str | None,
    dtype: str,
    resize: str,
    background: str,
    loras: Sequence[str] = (),
    textual_inversions: Sequence[str] = (),
    vae: str | None = None,
    tokenizer: str | None = None,
    family: str | None = None,
    prediction_type: str | None = None,
) -> dict[str, Any]:
    """The fields of `Parameters` that all pictures of a run share: with what they are made, and how inputs are resized.

    Args:
      folder: where the checkpoint's files lie on this machine.
      model, revision, variant, dtype, resize, background, loras, textual_inversions, vae, tokenizer, family,
        prediction_type: as in `Parameters`.
    """
    import jax  # slow, and reading parameters back does without

    folder = Path(folder).resolve()
    local = os.path.abspath(os.path.expanduser(model or ""))
    if model and os.path.exists(local):
        model = local
    elif folder.parent.name == "snapshots":
        # The hub's cache names a snapshot's folder after its commit, which stays when a branch moves on.
        revision = folder.name
    merged = [*map(split_lora, loras), *map(split_textual_inversion, textual_inversions)]
    others = [*(path for path, _ in merged), *(path for path in (vae, tokenizer) if path)]
    return {
        "resize": resize,
        "background": background,
        "model": model,
        "revision": revision,
        "variant": variant,
        "dtype": dtype,
        "weights_sha256": weights_sha256(folder, others),
        "loras": tuple(loras),
        "textual_inversions": tuple(textual_inversions),
        "vae": vae,
        "tokenizer": tokenizer,
        "family": family,
        "prediction_type": prediction_type,
        "versions": package_versions() | {"platform": jax.devices()[0].device_kind},
    }
