"""Meshes that can be made, and those that cannot. What lies where on eight devices: tests/sharded."""

import jax
import pytest

from img2img_jax.parallel import batch_devices, batch_spec, make_mesh, padded_size

DEVICES = 8 * jax.devices()[:1]


@pytest.mark.parametrize(
    ("axes", "shape", "parts"),
    [
        ({}, (8, 1, 1), 8),
        ({"fsdp": 4}, (2, 4, 1), 8),
        ({"tensor": 2}, (4, 1, 2), 4),
        ({"data": 2, "fsdp": 2, "tensor": 2}, (2, 2, 2), 4),
        ({"data": 1, "tensor": 8}, (1, 1, 8), 1),
    ],
)
def test_axes_take_what_is_left(axes, shape, parts):
    mesh = make_mesh(**axes, devices=DEVICES)
    assert mesh.axis_names == ("data", "fsdp", "tensor") and mesh.devices.shape == shape
    assert batch_devices(mesh) == parts
    assert [padded_size(size, mesh) for size in (1, parts, parts + 1)] == [parts, parts, 2 * parts]


def test_batches_are_split_over_data_and_fsdp():
    assert batch_spec(make_mesh(devices=DEVICES)) == jax.P("data")
    assert batch_spec(make_mesh(fsdp=2, devices=DEVICES), axis=1) == jax.P(None, ("data", "fsdp"))


@pytest.mark.parametrize(
    ("axes", "problem"),
    [
        ({"fsdp": 3}, "8 devices do not split into fsdp=3 x tensor=1 x data=2"),
        ({"data": 4}, "do not split"),
        ({"tensor": 16}, "data=any"),
        ({"tensor": 0}, "tensor=0 is below 1"),
        ({"data": -1}, "data=-1 is below 1"),
    ],
)
def test_devices_that_do_not_split_are_refused(axes, problem):
    with pytest.raises(ValueError, match=problem):
        make_mesh(**axes, devices=DEVICES)


def test_a_list_of_devices_goes_by_its_name():
    with pytest.raises(TypeError, match="devices="):
        make_mesh(DEVICES)
