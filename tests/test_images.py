"""Pictures of every kind come out upright, opaque, 8-bit and at the promised size; bad ones are named."""

import struct
import zlib

import ml_dtypes  # comes with JAX
import numpy as np
import pytest
from PIL import Image

from img2img_jax import images
from img2img_jax.images import ImageError


@pytest.fixture
def photo():
    """Smooth and without symmetry, so that every flip, shift and channel swap shows."""
    y, x = np.mgrid[0:24, 0:40]
    return np.stack([x * 6, y * 10, (x + y) * 4], axis=-1).astype(np.uint8)


def test_rgb_file_keeps_its_pixels(photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(images.load_image(tmp_path / "a.png")), photo)
    assert np.array_equal(np.asarray(images.load_image(str(tmp_path / "a.png"))), photo)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(photo, tmp_path, orientation):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transpose that stores it so
    image = Image.fromarray(photo)
    if orientation in undo:
        image = image.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(np.asarray(images.load_image(tmp_path / "a.png")), photo)


def test_exif_is_not_applied_twice(photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(photo).save(tmp_path / "a.png", exif=exif)
    once = images.load_image(tmp_path / "a.png")
    assert np.array_equal(np.asarray(images.load_image(once)), np.asarray(once))


@pytest.mark.parametrize("background, expected", [("white", 255), ("black", 0), ("#808080", 128)])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGBa", "La"])
def test_alpha_is_composited_on_the_background(background, expected, mode):
    rgba = Image.new("RGBA", (4, 1), (0, 0, 0, 0))
    rgba.putpixel((3, 0), (70, 70, 70, 255))
    image = rgba
    for step in ("LA", "La") if mode == "La" else (mode,):
        image = image.convert(step)
    pixels = np.asarray(images.load_image(image, background=background))
    assert (pixels[0, 0] == expected).all()
    assert np.abs(pixels[0, 3].astype(int) - 70).max() <= 1


def test_half_transparent_is_a_blend():
    image = Image.new("RGBA", (2, 2), (255, 0, 0, 128))
    assert np.asarray(images.load_image(image, background="blue"))[0, 0].tolist() == [128, 0, 127]


def test_transparent_palette_entry(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.gif", transparency=0)
    pixels = np.asarray(images.load_image(tmp_path / "a.gif", background="lime"))
    assert pixels.tolist() == [[[0, 255, 0], [40, 50, 60]]]


def test_transparent_colour_key_of_an_rgb_file(tmp_path):
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    image.save(tmp_path / "a.png", transparency=(1, 2, 3))
    assert np.asarray(images.load_image(tmp_path / "a.png")).tolist() == [[[255] * 3, [9] * 3]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "I;16", "I;16B", "I", "F"])
def test_other_modes_become_rgb_of_the_same_brightness(mode, tmp_path):
    ramp = np.repeat(np.array([[0, 255, 51, 204]], np.uint8), 2, axis=0)
    if mode == "1":
        ramp = np.where(ramp > 127, 255, 0).astype(np.uint8)
    if mode.startswith("I"):
        values = ramp.astype({"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}[mode])
        values *= 257
        image = Image.frombytes(mode, (4, 2), values.tobytes())
    elif mode == "F":
        image = Image.fromarray(ramp.astype(np.float32) / 255)
    else:
        image = Image.fromarray(np.stack([ramp] * 3, -1)).convert(mode)
    assert image.mode == mode
    out = images.load_image(image)
    assert out.mode == "RGB"
    assert np.abs(np.asarray(out).astype(int) - ramp[..., None]).max() <= 2


def test_16_bit_grey_file_is_scaled_not_clipped(tmp_path):
    Image.fromarray(np.array([[0, 257, 32768, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(images.load_image(tmp_path / "a.png"))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_float_mode_out_of_range_is_refused():
    with pytest.raises(ImageError, match="mode F .* rescale"):
        images.load_image(Image.fromarray(np.array([[0.0, 7.5]], np.float32)))


def test_first_frame_of_an_animation(tmp_path):
    red, blue = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    red.save(tmp_path / "a.gif", save_all=True, append_images=[blue])
    assert np.asarray(images.load_image(tmp_path / "a.gif"))[0, 0].tolist() == [255, 0, 0]


def _png_claiming(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_000, 60_000])  # Pillow alone only warns about the first
def test_decompression_bomb_is_refused(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(_png_claiming(side, side))
    with pytest.raises(ImageError, match="bomb.png: more than .* shrink"):
        images.load_image(tmp_path / "bomb.png")


def test_broken_files_are_named_with_a_remedy(photo, tmp_path):
    noisy = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noisy).save(tmp_path / "whole.png")
    Image.fromarray(noisy).save(tmp_path / "whole.jpg")
    whole = {kind: (tmp_path / f"whole.{kind}").read_bytes() for kind in ("png", "jpg")}
    damaged = bytearray(whole["png"])
    damaged[200:260] = bytes(60)
    files = {
        "empty.png": (b"", "empty"),
        "text.png": (b"hello, I am no picture", "save it again"),
        "cut.png": (whole["png"][: len(whole["png"]) // 2], "save it again"),
        "cut.jpg": (whole["jpg"][: len(whole["jpg"]) // 2], "save it again"),
        "damaged.png": (bytes(damaged), "save it again"),
        "header.png": (whole["png"][:20], "save it again"),
    }
    for name, (data, remedy) in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match=f"{name}: .*{remedy}"):
            images.load_image(tmp_path / name)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match="gone.png: no such file"):
        images.load_image(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="is a folder"):
        images.load_image(tmp_path)


def test_picture_without_pixels():
    with pytest.raises(ImageError, match="no pixels .0x5"):
        images.load_image(Image.new("RGB", (0, 5)))


def test_unknown_background():
    with pytest.raises(ImageError, match="'whitish' is no colour"):
        images.load_image(Image.new("RGBA", (2, 2)), background="whitish")


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros((8, 8)), r"not \[8, 8\]"),
        (np.zeros((8, 8, 4), np.uint8), r"not \[8, 8, 4\]"),
        (np.zeros((0, 8, 3), np.uint8), r"not \[0, 8, 3\]"),
        (np.zeros((8, 8, 3), np.int64), "not int64"),
        (np.full((8, 8, 3), np.nan), "nan"),
        (np.full((8, 8, 3), -0.5), "-0.5"),
        (np.full((8, 8, 3), 255.0), "255.0; rescale"),
    ],
)
def test_unusable_arrays(array, message):
    with pytest.raises(ImageError, match=message):
        images.check_array(array)


@pytest.mark.parametrize(
    "own, wish, expected",
    [
        ((64, 96), {}, (64, 96)),
        ((71, 103), {}, (64, 96)),
        ((5, 100), {}, (8, 96)),
        ((71, 103), {"multiple": 16}, (64, 96)),
        ((100, 200), {"height": 64}, (64, 128)),
        ((100, 200), {"width": 64}, (32, 64)),
        ((128, 127), {"height": 128}, (128, 128)),
        ((1000, 10), {"height": 64}, (64, 8)),
        ((100, 200), {"height": 64, "width": 64}, (64, 64)),
    ],
)
def test_target_size(own, wish, expected):
    assert images.target_size(own, **wish) == expected


def test_impossible_target_size():
    with pytest.raises(ImageError, match="height 100 .* use 96"):
        images.target_size((64, 64), height=100)
    with pytest.raises(ImageError, match="width 0 .* use 8"):
        images.target_size((64, 64), width=0)


def test_prepare_leaves_a_fitting_picture_alone(photo):
    for policy in images.RESIZE_POLICIES:
        assert np.array_equal(images.prepare(Image.fromarray(photo), resize=policy), photo)


def test_crop_cuts_both_sides_evenly():
    stripes = np.zeros((32, 64, 3), np.uint8)
    stripes[:, :16], stripes[:, 48:] = (255, 0, 0), (0, 0, 255)
    assert not images.prepare(stripes, height=32, width=32).any()  # the red and the blue quarter are gone
    wide = images.prepare(stripes, height=32, width=64, resize="crop")
    assert np.array_equal(wide, stripes)


def test_pad_keeps_everything_and_fills_with_the_background():
    red = np.zeros((32, 64, 3), np.uint8)
    red[..., 0] = 255
    out = images.prepare(red, height=64, width=64, resize="pad", background="#000080")
    assert (out[16:48] == [255, 0, 0]).all()
    assert (out[:16] == [0, 0, 128]).all() and (out[48:] == [0, 0, 128]).all()


def test_stretch_fills_the_target():
    half = np.zeros((32, 64, 3), np.uint8)
    half[:, 32:] = 255
    out = images.prepare(half, height=32, width=32, resize="stretch")
    assert (out[:, :12] == 0).all() and (out[:, 20:] == 255).all()


def test_crop_of_an_odd_size_keeps_the_aspect():
    """A disc stays a disc."""
    y, x = np.mgrid[0:101, 0:151]
    disc = np.where((x - 75) ** 2 + (y - 50) ** 2 < 40**2, 255, 0).astype(np.uint8)
    out = images.prepare(np.stack([disc] * 3, -1))[..., 0] > 127
    assert out.shape == (96, 144)
    assert abs(int(out.any(0).sum()) - int(out.any(1).sum())) <= 1


def test_unknown_policy(photo):
    with pytest.raises(ImageError, match="'squash' is unknown; use one of crop, pad, stretch"):
        images.prepare(photo, resize="squash")


@pytest.mark.parametrize("policy", images.RESIZE_POLICIES)
def test_float_arrays_stay_float_and_agree_with_uint8(photo, policy):
    unit = photo.astype(np.float32) / 255
    assert np.array_equal(images.prepare(unit, resize=policy), unit)
    small = {"height": 16, "width": 16, "resize": policy, "background": "teal"}
    as_float, as_uint8 = images.prepare(unit, **small), images.prepare(photo, **small)
    assert as_float.dtype == np.float32 and as_float.min() >= 0 and as_float.max() <= 1
    assert np.abs(as_float * 255 - as_uint8).max() <= 1.5


def test_prepare_batch_takes_every_kind_of_input(photo, tmp_path):
    image = Image.fromarray(photo)
    image.save(tmp_path / "a.png")
    for one in (image, tmp_path / "a.png", str(tmp_path / "a.png"), photo, [photo], photo[None]):
        batch = images.prepare_batch(one)
        assert batch.dtype == np.uint8 and np.array_equal(batch, photo[None])
    mixed = images.prepare_batch([image, photo.astype(np.float32) / 255])
    assert mixed.dtype == np.float32 and np.array_equal(mixed[0], mixed[1])


def test_prepare_batch_refuses_nothing_and_mixed_sizes(photo):
    with pytest.raises(ImageError, match="at least one"):
        images.prepare_batch([])
    with pytest.raises(ImageError, match=r"\(16, 16\), \(24, 40\).* height and width"):
        images.prepare_batch([photo, photo[:16, :16]])
    assert images.prepare_batch([photo, photo[:16, :16]], height=16, width=16).shape == (2, 16, 16, 3)


def test_every_uint8_value_survives_the_round_trip():
    values = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (1, 256, 3))
    model = images.to_model(values)
    assert model.dtype == np.float32 and model.min() == -1 and model.max() == 1
    assert np.array_equal(images.to_uint8(images.to_unit(model)), values)


def test_to_unit_clips_and_to_uint8_refuses_nan():
    assert images.to_unit(np.float32([-3, 0, 3])).tolist() == [0, 0.5, 1]
    with pytest.raises(ImageError, match="nan"):
        images.to_uint8(images.to_unit(np.full((1, 8, 8, 3), np.nan)))


def test_to_pil_gives_one_image_per_row(photo):
    pictures = images.to_pil(np.stack([photo, 255 - photo]))
    assert [np.asarray(p).tolist() for p in pictures] == [photo.tolist(), (255 - photo).tolist()]
    assert len(images.to_pil(photo)) == 1


def test_bfloat16_arrays_are_floats():
    array = np.full((1, 8, 8, 3), 0.5, ml_dtypes.bfloat16)
    assert images.to_uint8(array)[0, 0, 0].tolist() == [128] * 3
