"""Any picture file as the small square of colour pixels that a model takes."""

import contextlib
import io
import itertools
import os
import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from davidnet_keras.errors import UserError, whole_number

MAX_PIXELS = 50_000_000  # by the file's own header, before anything is decoded: 0.2 GB as colours
MAX_BYTES = 100_000_000  # of a file that is read whole, to leave out damaged metadata
# The formats of cameras and of the web. Of the others that Pillow knows, EPS would start another program.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "HEIF", "BMP", "DIB", "TIFF", "JPEG2000", "PPM", "ICO", "TGA")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
# How Pillow brings a PNG's values to 8 bits, but not its transparent colour.
PNG_DEPTHS = {
    "L;2": lambda grey: grey * 85,
    "L;4": lambda grey: grey * 17,
    "RGB;16B": lambda colour: tuple(channel >> 8 for channel in colour),
}
ORIENTATION, BITS, PHOTOMETRIC, SAMPLE_FORMAT = 0x0112, 258, 262, 339  # the first of EXIF, the others of TIFF
_TURNS = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90"
TURNS = {number: Image.Transpose[name] for number, name in enumerate(_TURNS.split(), start=2)}  # by orientation
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def read_picture(path: str | os.PathLike, fit: str = "crop", size: int = 32) -> np.ndarray:
    """Read a picture of any size and mode as the pixels that a model takes: uint8 (size, size, 3).

    The picture is turned as its EXIF orientation says, cut to the square in its middle and resized with Pillow's
    bicubic filter, which averages when it shrinks; one of the right size keeps its pixels. Transparency is laid on
    white, grey becomes equal red, green and blue, deep grey 8 bits, of an animation the first frame counts. Colour
    profiles are not applied, and metadata that cannot be read is ignored. Where a file of floats or of 32-bit integers
    does not say which value is white, a warning says which was taken.

    Args:
        path: file in one of the formats `FORMATS`, of 50 million pixels at most. HEIF, which phones write as HEIC,
            needs the package pillow-heif.
        fit: "crop" (default): the square in the middle. "squash": the whole picture, its proportions changed.
        size: side of the result in pixels.

    Raises:
        UserError: there is no such file, it is no picture, it is damaged or too large.
        ValueError: `fit` or `size` is wrong.
    """
    if fit not in ("crop", "squash"):
        raise ValueError(f"A picture is fitted by 'crop' or 'squash'. Received: fit={fit!r}")
    size, path = whole_number("size", size, 1), Path(path).expanduser()
    try:
        pixels, guessed_white = _read(path, fit, size)
    except UserError:
        raise
    except _BOMBS as error:
        found = str(error).partition(" exceeds")[0]
        raise UserError(f"{path} is too large: {found}, where {MAX_PIXELS:,} are the limit; make it smaller.") from None
    except Image.UnidentifiedImageError:
        raise UserError(f"{path} is {_unknown(path)}.") from None
    except Exception as error:  # Pillow's decoders meet damage with almost anything: SyntaxError, struct.error, ...
        found = "cannot be read" if isinstance(error, OSError) else "is damaged"
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200] or type(error).__name__
        raise UserError(f"{path} {found} ({reason}); save it anew.") from None
    if guessed_white:
        warnings.warn(f"{path} does not say which grey is white; {guessed_white:,} was taken.", stacklevel=2)
    return pixels


def _read(path, fit, size):
    """`_small_picture` of a file, if need be without its metadata."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the pictures in it.")
    if not path.is_file():
        raise UserError(f"There is no picture {path}; check the name.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow warns of, it reads
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return _small_picture(path, fit, size)
        except _BOMBS:
            raise
        except Exception:
            if path.stat().st_size > MAX_BYTES:
                raise
            return _small_picture(io.BytesIO(_without_metadata(path.read_bytes())), fit, size)


def _known_formats():
    """Those of `FORMATS` that this Pillow can read."""
    Image.init()
    if "HEIF" not in Image.OPEN:
        with contextlib.suppress(ImportError):
            import pillow_heif

            pillow_heif.register_heif_opener()
    return [name for name in FORMATS if name in Image.OPEN]


def _without_metadata(content):
    """A PNG, JPEG or AVIF file without what Pillow may choke on although it is no part of the picture."""
    kept, at = [], 0
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        kept, at = [content[:8]], 8
        while at + 12 <= len(content):
            length, kind = struct.unpack_from(">I4s", content, at)
            chunk = content[at : at + 12 + length]
            whole = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
            # The first letter of what a decoder must know is a capital.
            if kind[:1].isupper() or kind == b"tRNS" or (kind == b"eXIf" and whole):
                kept.append(chunk)
            at += len(chunk)
    elif content.startswith(b"\xff\xd8"):
        kept, at = [content[:2]], 2
        needed = {0xE0: (b"JFIF\0", 16), 0xE1: (b"Exif\0", 8), 0xEE: (b"Adobe", 14)}
        while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != 0xDA:
            marker, length = struct.unpack_from(">xBH", content, at)
            start, least = needed.get(marker, (b"", 0))
            whole = start and content.startswith(start, at + 4) and length >= least
            if whole or marker not in (*range(0xE0, 0xF0), 0xFE):  # applications' segments and comments
                kept.append(content[at : at + 2 + length])
            at += 2 + length
    elif content[4:12] in (b"ftypavif", b"ftypavis"):
        return re.sub(rb"(infe.{8})Exif", rb"\1none", content, flags=re.DOTALL)  # the type of the item
    return b"".join([*kept, content[at:]])


def _small_picture(source, fit, size):
    """(uint8 array of the picture in a file, the white level that was guessed or None)."""
    with Image.open(source, formats=_known_formats()) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise Image.DecompressionBombError(f"{width} x {height} pixels")
        packed = image.tile[0].args if image.tile else None
        if image.format == "PNG" and packed in PNG_DEPTHS and "transparency" in image.info:
            image.info["transparency"] = PNG_DEPTHS[packed](image.info["transparency"])
        tags = getattr(image, "tag_v2", {})
        image.load()
        turn = None
        with contextlib.suppress(Exception):  # as if it had none
            turn = TURNS.get(image.getexif().get(ORIENTATION))  # TIFF files are turned as they load, and lose the tag
        if fit == "crop" and width != height:
            side = min(width, height)
            left, top = (width - side) // 2, (height - side) // 2
            image = image.crop((left, top, left + side, top + side))
        guessed_white = None
        if image.mode in DEEP_GREY and "transparency" in image.info:
            grey = np.asarray(image)
            bands = grey >> 8, np.where(grey == image.info["transparency"], np.uint8(0), np.uint8(255))
            image = Image.merge("LA", [Image.fromarray(band.astype(np.uint8)) for band in bands])
        if image.mode in DEEP_GREY:
            small, guessed_white = _eight_bits(image, tags, size)
        elif image.has_transparency_data:
            # Laying the small picture on white costs less memory; resizing weighs colours by their opacity.
            small = _resized(image, "RGBA", size)
            small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small)
        else:
            small = _resized(image, "RGB", size)
        small = small.transpose(turn) if turn is not None else small
        return np.array(small.convert("RGB")), guessed_white


def _resized(image, mode, size):
    image = image if image.mode == mode else image.convert(mode)  # which copies even then
    return image.resize((size, size), Image.Resampling.BICUBIC)


def _eight_bits(image, tags, size):
    """Deep grey as a small picture of 8 bits, and its white level where the file does not declare it."""
    (bits, *_), (kind, *_) = tags.get(BITS, (16,)), tags.get(SAMPLE_FORMAT, (1,))
    declared = image.mode != "F" and bits < 32
    if image.mode == "I" and bits == 32 and kind == 1:  # Pillow takes them for signed
        image = Image.fromarray(np.asarray(image).view(np.uint32).astype(np.float32))
        white = _likely_white(image, (65_535, 2**32 - 1))
    elif declared:
        white = 2 ** (bits - (kind == 2)) - 1
    else:
        white = _likely_white(image, (1, 255, 65_535) if image.mode == "F" else (65_535, 2**31 - 1))
    grey = np.asarray(_resized(image, "F", size))
    if not np.isfinite(grey).all():
        raise ValueError("it holds values that are not finite")
    if tags.get(PHOTOMETRIC) == 0:  # white is 0
        grey = white - grey
    return Image.fromarray(np.clip(grey * (255 / white) + 0.5, 0, 255).astype(np.uint8)), None if declared else white


def _likely_white(image, levels):
    """The level nearest to the brightest pixels, by ratio; black ones and the brightest hundredth are not counted."""
    sample = image.resize([min(side, 1000) for side in image.size], Image.Resampling.NEAREST)
    grey = np.asarray(sample)
    grey = grey[grey > 0]
    bright = np.quantile(grey, 0.99, method="lower") if grey.size else 0  # one pixel never decides
    return next((low for low, high in itertools.pairwise(levels) if bright <= (low * high) ** 0.5), levels[-1])


def _unknown(path):
    """What a file is that Pillow does not know, and what to do."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp" and head[8:] in HEIF_BRANDS and "HEIF" not in Image.OPEN:
        return "HEIC, which is read where pillow-heif is installed; pip install pillow-heif, or convert it to JPEG"
    return "no picture in a format that is read here; save it as PNG or JPEG"
