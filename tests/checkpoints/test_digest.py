import hashlib

from img2img_jax.checkpoints import sha256, weight_digests


def test_digests_of_weights_by_path(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "a.safetensors").write_bytes(b"abc")
    (tmp_path / "b.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_bytes(b"{}")
    assert sha256(tmp_path / "unet" / "a.safetensors") == hashlib.sha256(b"abc").hexdigest()
    assert weight_digests(tmp_path) == {
        "b.safetensors": hashlib.sha256(b"").hexdigest(),
        "unet/a.safetensors": hashlib.sha256(b"abc").hexdigest(),
    }
