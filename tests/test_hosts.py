"""Which process this one is, from the variables that launchers set."""

import pytest

from img2img_jax.hosts import ALONE, Host, initialize

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
