import math

import pytest

from img2img_jax.checkpoints import CheckpointError, keep_json, read_json, write_json


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"a": 1} trailing', "not valid JSON"),
        (b'{"a": "\xff"}', "not valid JSON"),
        (b'{"a": ' + b"9" * 10000 + b"}", "not valid JSON"),
        (b"[1, 2]", "JSON object .* found list"),
        (b"null", "JSON object .* found NoneType"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
    ],
)
def test_broken_and_hostile_files_are_named(tmp_path, content, message):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"config.json.*{message}"):
        read_json(tmp_path / "config.json")


def test_size_is_limited(tmp_path):
    (tmp_path / "config.json").write_text('{"a": "' + "x" * 100 + '"}')
    with pytest.raises(CheckpointError, match="larger than 64 bytes"):
        read_json(tmp_path / "config.json", max_bytes=64)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="config.json is missing"):
        read_json(tmp_path / "config.json")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_json(tmp_path)


def test_round_trip_with_the_infinities_that_scheduler_files_hold(tmp_path):
    value = {"lambda_min_clipped": -math.inf, "betas": [0.1, None], "name": "é"}
    write_json(tmp_path / "deep" / "scheduler_config.json", value)
    assert read_json(tmp_path / "deep" / "scheduler_config.json") == value


def test_what_is_there_is_kept_and_compared(tmp_path):
    path = tmp_path / "run.json"
    assert keep_json(path, {"a": 1, "b": (2, 3), "c": 4}) == []
    assert keep_json(path, {"a": 1, "b": (2, 3), "c": 5}, free=["c"]) == []
    assert keep_json(path, {"b": (2, 4), "d": None, "e": 1}) == ["a", "b", "c", "e"]
    assert read_json(path) == {"a": 1, "b": [2, 3], "c": 4}
