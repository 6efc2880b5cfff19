"""Pictures of any size and mode become 32 x 32 colours; what is none is refused in a sentence."""

import contextlib
import os
import struct
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from davidnet_keras import UserError, read_picture
from davidnet_keras.data import pictures


@pytest.fixture(autouse=True)
def fresh_keras():
    """Nothing here is Keras's."""


def scene(width=64, height=64):
    """Left half red, right half blue, the top quarter brighter: no two of its turned versions are equal."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0], pixels[:, width // 2 :, 2] = 160, 160
    pixels[: height // 4] += 80
    return Image.fromarray(pixels)


def read(tmp_path, image, name="x.png", fit="crop", **options):
    image.save(tmp_path / name, **options)
    return read_picture(tmp_path / name, fit)


def close(a, b, within=12):
    return np.abs(a.astype(int) - np.asarray(b, int)).mean() < within


def chunk(kind, content, checksum=None):
    checksum = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def grey_png(bits, values, transparent, kind=0):
    if bits < 8:
        as_bits = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        rows = np.packbits(as_bits.reshape(len(values), -1).astype(np.uint8), axis=1)
    else:
        rows = values.astype(f">u{bits // 8}")
    header = struct.pack(">IIBBBBB", *values.shape[1::-1], bits, kind, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = ((b"IHDR", header), (b"tRNS", transparent), (b"IDAT", content), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def refused(path, *words):
    with pytest.raises(UserError) as caught:
        read_picture(path)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and str(path) in message
    for word in words:
        assert word in message, message


def test_a_picture_of_the_models_size_keeps_its_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    for fit in ("crop", "squash"):
        found = read(tmp_path, Image.fromarray(pixels), fit=fit)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, pixels)


def test_the_middle_square_is_taken_and_squash_takes_all(tmp_path):
    pixels = np.full((64, 192, 3), 255, np.uint8)
    pixels[:, 64:128] = 10
    assert (read(tmp_path, Image.fromarray(pixels)) == 10).all()
    squashed = read(tmp_path, Image.fromarray(pixels), fit="squash")
    assert (squashed[:, :8] == 255).all() and (squashed[:, 14:18] == 10).all()


def test_shrinking_averages(tmp_path):
    board = (np.indices((320, 320)).sum(0) % 2 * 255).astype(np.uint8)
    found = read(tmp_path, Image.fromarray(board))
    assert abs(found.astype(int) - 127).max() <= 3


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (31, 33), (1000, 700)])
def test_any_size(tmp_path, size):
    found = read(tmp_path, Image.new("RGB", size, (10, 20, 30)))
    assert found.shape == (32, 32, 3) and (found == (10, 20, 30)).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr", "LAB"])
def test_colour_modes(tmp_path, mode):
    name = {"CMYK": "x.tif", "LAB": "x.tif", "YCbCr": "x.jpg"}.get(mode, "x.png")
    image = scene().convert(mode) if mode != "LAB" else lab(scene())
    assert close(read(tmp_path, image, name), scene().resize((32, 32), Image.Resampling.BICUBIC))


def lab(image):
    from PIL import ImageCms

    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    return ImageCms.profileToProfile(image, *profiles, outputMode="LAB")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "I", "F"])
def test_grey_modes_have_three_equal_channels_and_the_right_brightness(tmp_path, mode):
    levels = np.repeat(np.array([0, 64, 128, 255], np.uint8), 16)[None].repeat(64, axis=0)
    if mode == "1":
        levels = np.where(levels > 100, 255, 0).astype(np.uint8)
    deep = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    if mode in deep:
        image = Image.fromarray((levels.astype(float) * (1 / 255 if mode == "F" else 257)).astype(deep[mode]))
    else:
        image = Image.fromarray(levels).convert(mode)
    assert image.mode == mode
    guessed = pytest.warns(UserWarning, match="which grey is white") if mode in ("I", "F") else contextlib.nullcontext()
    with guessed:
        found = read(tmp_path, image, "x.png" if mode in ("1", "L", "LA", "I;16") else "x.tif")
    assert (found == found[..., :1]).all()
    np.testing.assert_allclose(found[16, [3, 12, 20, 29], 0], levels[0, [6, 24, 40, 58]], atol=1)


@pytest.mark.parametrize("byte_order", ["I;16", "I;16B"])
def test_sixteen_bits_in_both_byte_orders(tmp_path, byte_order):
    values = np.full((40, 40), 0x8000, np.uint16)
    image = Image.frombytes(byte_order, (40, 40), values.astype(">u2" if byte_order.endswith("B") else "<u2").tobytes())
    assert (read(tmp_path, image, "x.tif") == 128).all()


def test_floats_to_255_and_floats_that_are_not_finite(tmp_path):
    with pytest.warns(UserWarning, match="255 was taken"):
        assert (read(tmp_path, Image.fromarray(np.full((40, 40), 200, np.float32)), "x.tif") == 200).all()
    Image.fromarray(np.full((40, 40), np.nan, np.float32)).save(tmp_path / "y.tif")
    refused(tmp_path / "y.tif", "not finite")


@pytest.mark.parametrize(("high", "white"), [(1.02, 1), (300.0, 1), (0.8, 1)])
def test_one_pixel_does_not_decide_which_float_is_white(tmp_path, high, white):
    grey = np.full((40, 40), 0.8, np.float32)
    grey[0, 0] = high
    with pytest.warns(UserWarning, match=rf"x\.tif does not say which grey is white; {white} was taken"):
        found = read(tmp_path, Image.fromarray(grey), "x.tif")
    assert (found[16:] == round(0.8 * 255)).all()


@pytest.mark.parametrize("white", [1, 255, 65_535])
@pytest.mark.parametrize("dark", [0.0, 0.9])
def test_floats_of_three_scales(tmp_path, white, dark):
    grey = np.full((40, 40), 0.9 * white, np.float32)
    grey[: int(40 * dark)] = 0
    with pytest.warns(UserWarning, match=f"; {white:,} was taken"):
        found = read(tmp_path, Image.fromarray(grey), "x.tif")
    assert (found[30:] == 230).all()


def tiff(bits, values, sample_format=1, photometric=1):
    """A TIFF of grey whole numbers, 40 x 40; those of 12 bits are packed two in three bytes."""
    if bits == 12:
        as_bits = (np.asarray(values)[..., None] >> np.arange(11, -1, -1)) & 1
        data = np.packbits(as_bits.astype(np.uint8)).tobytes()
    else:
        data = np.asarray(values).astype(f"<u{bits // 8}").tobytes()
    sizes = [(256, 40), (257, 40), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, 40)]
    entries = [*sizes, (279, len(data)), (339, sample_format)]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return (
        struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(entries)) + directory + bytes(4)
    )


@pytest.mark.parametrize(
    ("bits", "value", "options", "grey"),
    [
        (12, 4095, {}, 255),
        (12, 2048, {}, 128),
        (16, 65_535, {}, 255),
        (16, 16_384, {}, 64),
        (16, 32_767, {"sample_format": 2}, 255),
        (16, 65_535, {"photometric": 0}, 0),
        (16, 0, {"photometric": 0}, 255),
    ],
)
def test_tiff_says_how_deep_it_is(tmp_path, bits, value, options, grey):
    (tmp_path / "x.tif").write_bytes(tiff(bits, np.full((40, 40), value), **options))
    assert (read_picture(tmp_path / "x.tif") == grey).all()


@pytest.mark.parametrize(
    ("value", "sample_format", "white", "grey"),
    [(32_768, 2, 65_535, 128), (2**30, 2, 2**31 - 1, 128), (2**31, 1, 2**32 - 1, 128), (2**32 - 1, 1, 2**32 - 1, 255)],
)
def test_tiff_of_32_bits(tmp_path, value, sample_format, white, grey):
    (tmp_path / "x.tif").write_bytes(tiff(32, np.full((40, 40), value), sample_format))
    with pytest.warns(UserWarning, match=f"; {white:,} was taken"):
        assert (read_picture(tmp_path / "x.tif") == grey).all()


@pytest.mark.parametrize("maxval", [100, 255, 1023, 65_535])
def test_pgm_says_which_value_is_white(tmp_path, maxval):
    values = np.full((40, 40), maxval, ">u2" if maxval > 255 else "u1")
    (tmp_path / "x.pgm").write_bytes(b"P5 40 40 %d\n" % maxval + values.tobytes())
    assert (read_picture(tmp_path / "x.pgm") == 255).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_of_any_depth(tmp_path, bits):
    white = 2**bits - 1
    clear = white // 3
    values = np.full((40, 40), clear)
    values[:, 20:] = 0 if clear else white
    (tmp_path / "x.png").write_bytes(grey_png(bits, values, struct.pack(">H", clear)))
    found = read_picture(tmp_path / "x.png")
    assert (found[:, :12] == 255).all() and (found[:, 20:] == (0 if clear else 255)).all()


def test_the_transparent_colour_of_a_deep_png(tmp_path):
    values = np.full((40, 40, 3), 0x1234)
    values[:, 20:] = 0
    (tmp_path / "x.png").write_bytes(grey_png(16, values, struct.pack(">HHH", *[0x1234] * 3), kind=2))
    found = read_picture(tmp_path / "x.png")
    assert (found[:, :12] == 255).all() and (found[:, 20:] == 0).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_shows_white(tmp_path, mode):
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 32, 64))
    found = read(tmp_path, image if mode == "PA" else image.convert(mode), "x.gif" if mode == "PA" else "x.png")
    assert (found[:, :14] == 0).all() and (found[:, 18:] == 255).all()


def test_a_transparent_colour_and_a_transparent_palette_entry(tmp_path):
    image = Image.new("RGB", (64, 64), (1, 2, 3))
    assert (read(tmp_path, image, transparency=(1, 2, 3)) == 255).all()
    palette = Image.new("P", (64, 64), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    assert (read(tmp_path, palette, transparency=1) == 255).all()
    assert (read(tmp_path, palette) == 9).all()


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.tif", "x.webp"])
def test_exif_orientation(tmp_path, turn, name):
    inverse = {None: None, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    transpose = inverse.get(turn, pictures.TURNS.get(turn))
    stored = scene() if transpose is None else scene().transpose(transpose)
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = turn
    lossless = {"lossless": True} if name == "x.webp" else {"quality": 100} if name == "x.jpg" else {}
    found = read(tmp_path, stored, name, exif=exif, **lossless)
    assert close(found, scene().resize((32, 32), Image.Resampling.BICUBIC), 4)


@pytest.mark.parametrize("name", ["x.gif", "x.webp", "x.png", "x.tif"])
def test_the_first_frame_of_an_animation(tmp_path, name):
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "blue")]
    assert close(read(tmp_path, frames[0], name, save_all=True, append_images=frames[1:]), (255, 0, 0), 3)


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.gif", "x.webp", "x.avif", "x.bmp", "x.tif", "x.jp2", "x.ppm"])
def test_formats(tmp_path, name):
    assert close(read(tmp_path, scene(), name), scene().resize((32, 32), Image.Resampling.BICUBIC))


def test_a_side_of_ones_own(tmp_path):
    image = Image.new("RGB", (100, 60), (10, 20, 30))
    image.save(tmp_path / "x.png")
    assert read_picture(tmp_path / "x.png", size=48).shape == (48, 48, 3)
    with pytest.raises(ValueError, match="Received: size=0"):
        read_picture(tmp_path / "x.png", size=0)


# ---- metadata that cannot be read

GARBAGE = b"Exif\0\0garbage-here-123456"
EMPTY = b"Exif\0\0" + bytes(14)


@pytest.mark.parametrize("exif", [GARBAGE, EMPTY, b"Exif\0\0MM\0*\0\0\0\x08", b"Exif\0\0II*\0\xff\xff\xff\x7f"])
@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp"])
def test_unreadable_exif_is_as_if_there_were_none(tmp_path, exif, name):
    found = read(tmp_path, scene(), name, exif=exif, **({"dpi": (72, 72)} if name == "x.jpg" else {}))
    assert close(found, scene().resize((32, 32), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("name", ["x.avif", "x.heic"])
def test_unreadable_exif_in_a_container(tmp_path, name):
    if name == "x.heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    exif = Image.Exif()
    exif[0x010E] = "a description"
    scene().save(tmp_path / name, exif=exif)
    content = (tmp_path / name).read_bytes()
    assert content.count(b"MM\0*") + content.count(b"II*\0") == 1
    (tmp_path / name).write_bytes(content.replace(b"MM\0*", b"zzzz").replace(b"II*\0", b"zzzz"))
    assert close(read_picture(tmp_path / name), scene().resize((32, 32), Image.Resampling.BICUBIC))


def segment(marker, content):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


@pytest.mark.parametrize(
    "metadata",
    [
        segment(0xE0, b"JFIF\0"),
        segment(0xE0, b"JFIF"),
        segment(0xE2, b"ICC_PROFILE\0"),
        segment(0xE2, b"ICC_PROFILE\0\x01"),
        segment(0xE2, b"MPF\0garbage"),
        segment(0xEE, b"Adobe"),
        segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\xff\0\0\0\xff\xff"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x\xff\0bad"),
        segment(0xFE, b"\xff\xfe"),
    ],
)
@pytest.mark.parametrize("at", [2, 20])
def test_unreadable_metadata_of_a_jpeg(tmp_path, metadata, at):
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = 3
    scene().transpose(Image.Transpose.ROTATE_180).save(tmp_path / "x.jpg", exif=exif, quality=100)
    content = (tmp_path / "x.jpg").read_bytes()
    (tmp_path / "x.jpg").write_bytes(content[:at] + metadata + content[at:])
    found = read_picture(tmp_path / "x.jpg")
    assert close(found, scene().resize((32, 32), Image.Resampling.BICUBIC), 4)  # still turned


BOMB = zlib.compress(bytes(3 << 20))


@pytest.mark.parametrize(
    "metadata",
    [
        chunk(b"iCCP", b"x\0\x05abc"),
        chunk(b"iCCP", b""),
        chunk(b"iCCP", b"abc"),
        chunk(b"iCCP", b"x\0\0" + BOMB),
        chunk(b"zTXt", b"x\0\0" + BOMB),
        chunk(b"zTXt", b"x\0\x07abc"),
        chunk(b"iTXt", b"x\0\x01\x00en\0x\0" + BOMB),
        chunk(b"pHYs", b"abc"),
        chunk(b"gAMA", b"a"),
        chunk(b"cHRM", b"abc"),
        chunk(b"sRGB", b""),
        chunk(b"tEXt", b"a\0b", checksum=5),
        chunk(b"tIME", b"a\0b", checksum=5),
        chunk(b"eXIf", b"ab", checksum=5),
        chunk(b"eXIf", b"ab"),
        chunk(b"acTL", b"ab"),
        chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", b"ab"),
    ],
)
def test_unreadable_metadata_of_a_png(tmp_path, metadata):
    scene().save(tmp_path / "x.png")
    content = (tmp_path / "x.png").read_bytes()
    for at in (33, content.index(b"IEND") - 4):
        (tmp_path / "x.png").write_bytes(content[:at] + metadata + content[at:])
        assert close(read_picture(tmp_path / "x.png"), scene().resize((32, 32), Image.Resampling.BICUBIC), 1)


def test_readable_orientation_beside_unreadable_metadata(tmp_path):
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = 3
    scene().transpose(Image.Transpose.ROTATE_180).save(tmp_path / "x.png", exif=exif)
    content = (tmp_path / "x.png").read_bytes()
    (tmp_path / "x.png").write_bytes(content[:33] + chunk(b"iCCP", b"") + content[33:])
    assert close(read_picture(tmp_path / "x.png"), scene().resize((32, 32), Image.Resampling.BICUBIC), 1)


# ---- HEIC


def test_heic_is_read_where_its_package_is_installed(tmp_path):
    pytest.importorskip("pillow_heif").register_heif_opener()
    assert close(read(tmp_path, scene(), "x.heic"), scene().resize((32, 32), Image.Resampling.BICUBIC))


def test_heic_is_named_where_its_package_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for name in ("OPEN", "ID"):
        known = getattr(Image, name)
        without = [each for each in known if each != "HEIF"]
        monkeypatch.setattr(Image, name, {each: known[each] for each in without} if name == "OPEN" else without)
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + bytes(100))
    refused(tmp_path / "x.heic", "HEIC", "pip install pillow-heif", "JPEG")


# ---- what is none


def test_what_is_no_picture_at_all(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    refused(tmp_path / "text.png", "no picture")
    refused(tmp_path / "empty.png", "no picture")
    refused(tmp_path / "none.png", "There is no picture")
    refused(tmp_path, "is a folder")
    refused(tmp_path / ("x" * 300), "cannot be read")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "There is no picture")


def test_an_unknown_fit():
    with pytest.raises(ValueError, match="fit='stretch'"):
        read_picture("x.png", "stretch")


def test_eps_is_no_format_here_for_it_starts_a_program(tmp_path):
    scene().save(tmp_path / "x.eps")
    refused(tmp_path / "x.eps", "format")


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.gif", "x.webp", "x.bmp", "x.tif"])
def test_a_truncated_picture(tmp_path, name):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for size in (8, len(whole) // 2):
        (tmp_path / name).write_bytes(whole[:size])
        refused(tmp_path / name)


def png_of_nothing(width, height):
    """A whole PNG of black pixels, about a thousandth of its size."""
    packer = zlib.compressobj(1)
    rows = [packer.compress(bytes(1 + width)) for _ in range(height)] + [packer.flush()]
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"".join(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(8_000, 6_251), (10_000, 10_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_a_picture_that_declares_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch, size):
    content = bytearray(png_of_nothing(8, 8))
    content[16:24] = struct.pack(">II", *size)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "x.png").write_bytes(content)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("it was decoded"))
    tracemalloc.start()
    try:
        refused(tmp_path / "x.png", "too large", "50,000,000")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_the_largest_picture_that_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 10_000)
    (tmp_path / "x.png").write_bytes(png_of_nothing(100, 100))
    assert not read_picture(tmp_path / "x.png").any()
    (tmp_path / "x.png").write_bytes(png_of_nothing(101, 100))
    refused(tmp_path / "x.png", "101 x 100 pixels")


@pytest.mark.parametrize(("brightest", "white"), [(1.3, 1), (1.5, 1), (260, 255), (70_000, 65_535)])
def test_highlights_beyond_white_do_not_change_the_scale(tmp_path, brightest, white):
    grey = np.full((40, 40), 0.5 * white, np.float32)
    grey[:2] = brightest  # 5 % of the pixels
    with pytest.warns(UserWarning, match=f"; {white:,} was taken"):
        found = read(tmp_path, Image.fromarray(grey), "x.tif")
    assert (found[8:] == 128).all()


def test_the_home_folder_may_begin_a_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("RGB", (32, 32), "red").save(tmp_path / "a.png")
    assert (read_picture("~/a.png") == (255, 0, 0)).all()
