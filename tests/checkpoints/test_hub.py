from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import errors
from huggingface_hub.utils import filter_repo_objects

from img2img_jax.checkpoints import EMBEDDED, CheckpointError, resolve
from img2img_jax.checkpoints.hub import weight_patterns

REPOSITORY = [
    "README.md",
    "model_index.json",
    "scheduler/scheduler_config.json",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/pytorch_model.bin",
    "unet/config.json",
    "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.json",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "safety_checker/model.safetensors",
    "v1-5-pruned.safetensors",
    "v1-5-pruned.ckpt",
]


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the download: records its arguments, returns or raises what it is told to."""

    class Hub:
        calls: list = []
        answer: object = "/cache/snapshot"

    def snapshot_download(name, **kwargs):
        Hub.calls = [*Hub.calls, (name, kwargs)]
        if isinstance(Hub.answer, Exception):
            raise Hub.answer
        return Hub.answer

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return Hub


def fetched(hub):
    _, kwargs = hub.calls[-1]
    return set(
        filter_repo_objects(
            REPOSITORY, allow_patterns=kwargs["allow_patterns"], ignore_patterns=kwargs["ignore_patterns"]
        )
    )


def test_a_folder_is_taken_as_it_is(tmp_path, hub):
    assert resolve(tmp_path) == resolve(str(tmp_path)) == tmp_path
    assert hub.calls == []


def test_an_existing_folder_wins_over_a_hub_id(tmp_path, hub, monkeypatch):
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve("owner/name") == Path("owner/name")
    assert hub.calls == []


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_model_has_a_name_unless_a_folder_has_it(name, tmp_path, hub, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve(name) == EMBEDDED[name]
    (tmp_path / name).mkdir()
    assert resolve(name) == Path(name)
    assert hub.calls == []


def test_a_revision_of_a_folder_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="revision='main' is for hub ids"):
        resolve(tmp_path, revision="main")


def test_a_single_file_is_taken_as_it_is(tmp_path, hub):
    (tmp_path / "model.safetensors").touch()
    assert resolve(tmp_path / "model.safetensors") == tmp_path / "model.safetensors"
    assert hub.calls == []
    with pytest.raises(CheckpointError, match="nothing.safetensors does not exist"):
        resolve("nothing.safetensors")


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.txt"])
def test_other_files_are_refused_with_the_way_out(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=f"{name} is neither .* refused. Convert it once"):
        resolve(tmp_path / name)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c", "~nobody/x", "", "a b", "https://x/y"])
def test_what_can_be_no_hub_id_is_not_looked_up(name, hub):
    with pytest.raises(CheckpointError, match="neither an existing folder nor a hub id"):
        resolve(name)
    assert hub.calls == []


def test_only_plain_weights_are_fetched(hub):
    assert resolve("owner/name", revision="v1") == Path("/cache/snapshot")
    assert hub.calls[-1][0] == "owner/name" and hub.calls[-1][1]["revision"] == "v1"
    assert fetched(hub) == {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "unet/config.json",
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
        "unet/diffusion_pytorch_model.safetensors.index.json",
    }


def test_only_the_variant_is_fetched(hub):
    resolve("owner/name", variant="fp16")
    weights = {name for name in fetched(hub) if name.endswith(".safetensors")}
    assert weights == {"text_encoder/model.fp16.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"}


def test_no_weights_are_fetched_where_none_are_wanted(hub):
    resolve("owner/name", weights=False)
    assert {name.rpartition(".")[2] for name in fetched(hub)} == {"json", "txt"}


def test_weights_at_the_top_of_a_repository_are_fetched():
    assert {"model.safetensors", "*/model.safetensors", "model-*-of-*.safetensors"} < set(weight_patterns(None))


def error(kind):
    """An exception of the hub's, without the HTTP response that its constructor wants."""
    return kind.__new__(kind)


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (error(errors.RepositoryNotFoundError), "neither an existing folder nor on the Hugging"),
        (error(errors.RevisionNotFoundError), "owner/name at revision 'v9' is neither"),
        (error(errors.GatedRepoError), "licence"),
        (error(errors.HfHubHTTPError), "cannot be reached"),
        (errors.LocalEntryNotFoundError("?"), "cannot be reached"),
        (errors.OfflineModeIsEnabled("?"), "cannot be reached"),
        (RuntimeError("transport"), r"cannot be reached \(RuntimeError\)"),
    ],
)
def test_every_failure_of_the_hub_says_what_to_do(hub, raised, message):
    hub.answer = raised
    with pytest.raises(CheckpointError, match=message):
        resolve("owner/name", revision="v9")


def test_the_cache_alone_is_asked_when_offline(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="owner/name is no existing folder, not in the cache"):
        resolve("owner/name")
