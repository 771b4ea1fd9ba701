import pytest

from img2img_jax.checkpoints import CheckpointError, load_component, open_checkpoint
from img2img_jax.checkpoints.links import refuse_links_out
from img2img_jax.models import CLIPTextModel


def move_out(file, place):
    """Puts a link in the place of a file."""
    place.parent.mkdir(parents=True, exist_ok=True)
    file.rename(place)
    file.symlink_to(place)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_links_out_of_a_component_are_refused(folder, tmp_path, name):
    move_out(folder / name, tmp_path / "elsewhere" / name)
    with pytest.raises(CheckpointError, match=f"{name} is a link that leads out of its folder"):
        load_component(CLIPTextModel, folder)


def test_a_component_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "unet").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="unet is a link that leads out"):
        open_checkpoint(tmp_path / "model")


def test_links_within_and_folders_reached_by_a_link_load(folder, tmp_path):
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    (folder / "model.safetensors").symlink_to("weights.safetensors")
    (tmp_path / "alias").symlink_to(folder)
    load_component(CLIPTextModel, tmp_path / "alias")


def test_the_hubs_cache_links_to_its_blobs(folder, tmp_path):
    repository = tmp_path / "models--owner--name"
    snapshot = repository / "snapshots" / "0123abcd" / "text_encoder"
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    for name in ("config.json", "model.safetensors"):
        move_out(snapshot / name, repository / "blobs" / name)
    load_component(CLIPTextModel, snapshot)
    other = tmp_path / "models--owner--other" / "blobs" / "config.json"
    other.parent.mkdir(parents=True)
    other.write_text("{}")
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(other)
    with pytest.raises(CheckpointError, match="leads out"):
        refuse_links_out(snapshot)
