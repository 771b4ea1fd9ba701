"""From what a user calls a model to a folder on this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

from img2img_jax.checkpoints.embedded import EMBEDDED
from img2img_jax.checkpoints.errors import CheckpointError
from img2img_jax.checkpoints.remote import fetch, is_address
from img2img_jax.checkpoints.weight_files import WeightNames

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9_][\w.-]*)?")
_STEMS = ("diffusion_pytorch_model", "model")
_TEXTS = ("*.json", "*.txt")
_UNUSED = ("safety_checker/*", "feature_extractor/*", "image_encoder/*")


def resolve(
    path_or_hub_id: str | Path, *, revision: str | None = None, variant: str | None = None, weights: bool = True
) -> Path:
    """The local folder of a checkpoint, fetched from an address or the Hugging Face hub if need be, or its single file.

    Of what is not on this machine only JSON, tokenizer files and the safetensors of the asked variant are fetched,
    never pickles or whole-model files; what the cache holds is not fetched again.

    Args:
      path_or_hub_id: a folder, a ``.safetensors`` file, the name of an embedded model (``EMBEDDED``), an id such as
        ``"owner/name"``, or the address of a folder or file such as ``"gs://bucket/model"`` (see ``remote.fetch``).
        What exists on this machine wins.
      revision: branch, tag or commit on the hub.
      variant: tag in the weights' file names, e.g. ``"fp16"``.
      weights: whether they are wanted; else only JSON and tokenizer files are fetched.

    Raises:
      CheckpointError: neither a folder nor on the hub or at an address, no access, or no connection and nothing
        cached.
    """
    name = str(path_or_hub_id)
    path = Path(os.path.expanduser(name))
    if name and path.exists():
        if revision is not None:
            raise CheckpointError(f"revision={revision!r} is for hub ids; {path} is on this machine: leave it out")
        if path.is_dir() or path.suffix == ".safetensors":
            return path
        raise CheckpointError(
            f"{path} is neither a folder nor a .safetensors file; others (pickles such as .ckpt) can run code when "
            "opened and are refused. Convert it once, where you trust it, to safetensors"
        )
    if name in EMBEDDED:
        return resolve(EMBEDDED[name], revision=revision)
    patterns = weight_patterns(variant) if weights else list(_TEXTS)
    if is_address(name):
        if revision is not None:
            raise CheckpointError(f"revision={revision!r} is for hub ids; {name} is an address: leave it out")
        return fetch(name, ["*.safetensors"] if name.endswith(".safetensors") else patterns, _UNUSED)
    if name.endswith(".safetensors"):
        raise CheckpointError(f"{path} does not exist")
    if not _HUB_ID.fullmatch(name):
        raise CheckpointError(f"{name!r} is neither an existing folder nor a hub id of the form 'owner/name'")
    return _download(name, revision, patterns)


def weight_patterns(variant: str | None) -> list[str]:
    """Patterns of the files a checkpoint consists of, at the top and one folder down."""
    names = [WeightNames(stem=stem, variant=variant) for stem in _STEMS]
    files = [file for name in names for file in (name.single, f"{name.tagged}-*-of-*.safetensors")]
    return [*_TEXTS, *files, *(f"*/{file}" for file in files)]


def _download(name: str, revision: str | None, patterns: list[str]) -> Path:
    import huggingface_hub  # slow to import, and a local folder does not need it
    from huggingface_hub import errors

    where = name if revision is None else f"{name} at revision {revision!r}"
    try:
        folder = huggingface_hub.snapshot_download(
            name, revision=revision, allow_patterns=patterns, ignore_patterns=list(_UNUSED)
        )
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{where} wants its licence accepted: do so on its page, then run `hf auth login`"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise CheckpointError(
            f"{where} is neither an existing folder nor on the Hugging Face hub; check the spelling, or run "
            "`hf auth login` for a private repository"
        ) from error
    except Exception as error:  # what the transport raises changes with the library's releases
        raise CheckpointError(
            f"{where} is no existing folder, not in the cache, and the Hugging Face hub cannot be reached "
            f"({type(error).__name__}); check the connection or give the path of a folder"
        ) from error
    return Path(folder)
