"""Programs are kept where the user's system keeps such things, elsewhere, or nowhere."""

import jax
import pytest

from img2img_jax import compilation_cache

OPTIONS = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """JAX as a process starts it, and a home of its own."""
    before = {name: getattr(jax.config, name) for name in OPTIONS}
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.delenv(compilation_cache.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("sys.platform", "linux")
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_in_the_users_cache_folder(tmp_path):
    compilation_cache.enable()
    place = compilation_cache.folder()
    assert place.is_dir() and place.parent == tmp_path / "home" / "img2img_jax"
    assert jax.config.jax_compilation_cache_dir == str(place)


def test_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv(compilation_cache.VARIABLE, str(tmp_path / "here"))
    assert compilation_cache.folder().parent == tmp_path / "here"


@pytest.mark.parametrize("word", ["off", "OFF"])
def test_switched_off(monkeypatch, word):
    monkeypatch.setenv(compilation_cache.VARIABLE, word)
    compilation_cache.enable()
    assert jax.config.jax_compilation_cache_dir is None


def test_the_callers_own_cache_stays(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    compilation_cache.enable()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")


def test_a_folder_that_cannot_be_made_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(compilation_cache.VARIABLE, str(tmp_path / "file"))
    compilation_cache.enable()
    assert jax.config.jax_compilation_cache_dir is None


def test_processors_do_not_share(monkeypatch):
    here = compilation_cache.folder()
    monkeypatch.setattr("platform.machine", lambda: "another")
    assert compilation_cache.folder() != here
