"""Tests of img2img_jax.data.emoji_sources."""

import subprocess
from dataclasses import replace

import pytest

from img2img_jax.data import emoji_sources
from img2img_jax.data.emoji_sources import PACKAGES, IconSet, codepoints, fetch, read_concepts, read_json, wanted


def test_tarball_is_named_as_npm_names_it():
    assert PACKAGES["shaded"].tarball == f"iconify-json-noto-{PACKAGES['shaded'].version}.tgz"
    assert PACKAGES["keywords"].tarball == f"emojilib-{PACKAGES['keywords'].version}.tgz"


def test_fetch_takes_a_tarball_that_is_there(packages):
    assert fetch(PACKAGES["flat"], packages) == packages / PACKAGES["flat"].tarball


def test_fetch_refuses_other_contents(packages):
    package = replace(PACKAGES["flat"], sha256="0" * 64)
    with pytest.raises(ValueError, match=f"{package.tarball}.*000.*is pinned.*delete the file"):
        fetch(package, packages)


def test_fetch_without_npm_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(emoji_sources.shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match=r"emojilib@4\.0\.3.*install npm.*emojilib-4\.0\.3\.tgz"):
        fetch(PACKAGES["keywords"], tmp_path)


def test_fetch_runs_npm_pack_with_the_pinned_version(tmp_path, monkeypatch, packages):
    package, calls = PACKAGES["keywords"], []
    target = tmp_path / "store"

    def run(command, **_):
        calls.append(command)
        (target / package.tarball).write_bytes((packages / package.tarball).read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(emoji_sources.shutil, "which", lambda name: "npm")
    monkeypatch.setattr(emoji_sources.subprocess, "run", run)
    assert fetch(package, target).exists()
    assert calls[0][:3] == ["npm", "pack", "emojilib@4.0.3"]
    fetch(package, target)
    assert len(calls) == 1


def test_fetch_reports_what_npm_said(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "E404 not found")
    monkeypatch.setattr(emoji_sources.shutil, "which", lambda name: "npm")
    monkeypatch.setattr(emoji_sources.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(RuntimeError, match="E404 not found"):
        fetch(PACKAGES["keywords"], tmp_path)


def test_read_json_names_a_missing_member(packages):
    with pytest.raises(ValueError, match="no file nothing.json"):
        read_json(packages / PACKAGES["flat"].tarball, "nothing.json")


def test_codepoints_drop_variation_selectors():
    assert codepoints("❤️") == "2764"
    assert codepoints("👨‍🚀") == "1f468-200d-1f680"


def test_concepts_leave_out_flags_and_gendered_doubles(packages):
    concepts = read_concepts(packages / PACKAGES["names"].tarball, packages / PACKAGES["keywords"].tarball)
    assert [concept.name for concept in concepts] == ["red apple", "red heart", "backhand index pointing right"]
    assert concepts[0].keywords == ("red_apple", "fruit", "health", ":)")
    assert concepts[1].keywords == ()


@pytest.mark.parametrize(
    ("concept", "name", "expected"),
    [
        ("0023-20e3", "keycap #", False),
        ("1f550", "one o’clock", False),
        ("1f55c", "one-thirty", False),
        ("1f48f", "kiss", False),
        ("1f48b", "kiss mark", True),
        ("1f64d-200d-2640", "woman frowning", False),
        ("1f468-200d-1f9b0", "man red hair", True),
        ("1f3f4", "black flag", True),
        ("26f3", "flag in hole", True),
    ],
)
def test_wanted(concept, name, expected):
    assert wanted(concept, name) is expected


def test_icon_set_resolves_aliases_and_sizes():
    icons = {
        "icons": {"a": {"body": "<path/>"}, "wide": {"body": "<g/>", "width": 64, "left": -1}},
        "aliases": {"b": {"parent": "a", "hFlip": True}, "c": {"parent": "a"}, "d": {"parent": "a", "rotate": 1}},
        "width": 32,
        "height": 32,
    }
    found = IconSet(icons, {name: name for name in ("a", "b", "c", "d", "wide", "lost")})
    assert found["wide"].view_box == (-1, 0, 64, 32)
    assert found["c"].body == "<path/>"
    assert "translate(16.0 16.0) scale(-1 1) translate(-16.0 -16.0)" in found["b"].body
    assert "rotate(90 16.0 16.0)" in found["d"].body
    assert "a" in found and "lost" not in found and "unknown" not in found
