"""Which process this one is, from the variables that launchers set."""

import pytest

from img2img_jax import hosts
from img2img_jax.hosts import ALONE, Host, initialize, initialize_from_flags

TPU = {"TPU_WORKER_ID": "3", "TPU_WORKER_HOSTNAMES": "a,b,c,d"}


@pytest.mark.parametrize(
    ("environ", "index", "count"),
    [
        ({}, 0, 1),
        ({"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4"}, 2, 4),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, 0, 1),  # in the batch script, outside srun
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, 1, 2),
        (TPU, 3, 4),
        (TPU | {"MEGASCALE_SLICE_ID": "1", "MEGASCALE_NUM_SLICES": "2"}, 7, 8),
        ({"TPU_WORKER_ID": "0", "TPU_WORKER_HOSTNAMES": "localhost"}, 0, 1),
    ],
)
def test_launchers_say_it(environ, index, count):
    assert Host.from_environment(environ) == Host(index=index, count=count)


def test_every_piece_of_work_is_one_hosts():
    hosts = [Host(index=index, count=3) for index in range(3)]
    assert [[host.takes(number) for host in hosts].count(True) for number in range(10)] == [1] * 10
    assert sum(ALONE.takes(number) for number in range(10)) == 10


@pytest.mark.parametrize(("index", "count"), [(2, 2), (-1, 2), (0, 0)])
def test_places_that_do_not_exist_are_refused(index, count):
    with pytest.raises(ValueError, match=f"host {index} of {count}"):
        Host(index=index, count=count)


def test_an_address_needs_a_place_and_a_number():
    with pytest.raises(ValueError, match="count, index must be given as well"):
        initialize(coordinator="10.0.0.1:1234")


@pytest.mark.parametrize("text", ["", "2", "4/4", "-1/2", "0/0", "a/b", "1/2/3", "1 / 2", "1/2\n", "two"])
def test_a_flag_that_is_no_place_is_refused(text):
    for read in (Host.parse, Host.from_flag, lambda text: initialize_from_flags(text, "a:1")):
        with pytest.raises(ValueError, match="is no place among hosts; give INDEX/COUNT"):
            read(text)


def test_the_flag_gives_a_place_or_asks_the_launcher(monkeypatch, caplog):
    caplog.set_level("INFO", "absl")
    assert Host.from_flag("3/4") == Host(index=3, count=4) and Host.from_flag("one") == ALONE
    assert not caplog.records
    for name, value in {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert Host.from_flag("auto") == Host(index=1, count=2)
    assert "host 1 of 2" in caplog.text and "alone" not in caplog.text


def test_a_host_that_finds_no_launcher_says_that_it_runs_alone(caplog):
    assert Host.from_environment({}) == ALONE
    [record] = caplog.records
    assert record.levelname == "WARNING" and "this process runs alone" in record.getMessage()
    caplog.clear()
    assert Host.from_environment({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"}) == ALONE
    assert not caplog.records


def test_hosts_that_train_together_take_place_and_address_from_flags(monkeypatch):
    given = []
    monkeypatch.setattr(hosts, "initialize", lambda **address: given.append(address) or "started")
    assert initialize_from_flags("1/4", "10.0.0.1:99") == initialize_from_flags("auto", None) == "started"
    assert given == [{"coordinator": "10.0.0.1:99", "count": 4, "index": 1}, {}]
    assert initialize_from_flags("one", None) == ALONE
    with pytest.raises(ValueError, match="--hosts=1/4 needs --coordinator=HOST:PORT"):
        initialize_from_flags("1/4", None)
    for text in ("one", "auto"):
        with pytest.raises(ValueError, match="--coordinator=a:1 goes with a place"):
            initialize_from_flags(text, "a:1")
    assert len(given) == 2
