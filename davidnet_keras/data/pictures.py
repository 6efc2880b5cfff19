"""Any picture file as the 32 x 32 colour pixels that a model takes."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from davidnet_keras.errors import UserError

SIZE = 32
MAX_PIXELS = 50_000_000  # by the file's own header, before anything is decoded: 0.2 GB as colours
BACKGROUND = "white"  # what shows through where a picture is transparent
# The formats of cameras and of the web. Of the others that Pillow knows, EPS would start another program.
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "AVIF", "BMP", "DIB", "TIFF", "JPEG2000", "PPM", "ICO", "TGA")
DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_picture(path, fit="crop"):
    """Read a picture of any size and mode, and bring it to the size that the models take.

    The picture is turned as its EXIF orientation says, cut to the square in its middle and resized with Pillow's
    bicubic filter, which averages when it shrinks; one of 32 x 32 keeps its pixels. Transparency is laid on white, grey
    becomes equal red, green and blue, 16 bits become 8, of an animation the first frame counts. Colour profiles are
    not applied.

    Args:
        path: file in one of the formats `FORMATS`, of 50 million pixels at most.
        fit: "crop" (default): the square in the middle. "squash": the whole picture, its proportions changed.

    Returns:
        uint8 array (32, 32, 3).

    Raises:
        UserError: there is no such file, it is no picture, it is damaged or too large.
        ValueError: `fit` is neither of the two.
    """
    if fit not in ("crop", "squash"):
        raise ValueError(f"A picture is fitted by 'crop' or 'squash'. Received: fit={fit!r}")
    path = Path(path)
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder; name the pictures in it.")
        if not path.is_file():
            raise UserError(f"There is no picture {path}; check the name.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of, it reads
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=known_formats()) as image:
                return small_picture(path, image, fit)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise too_large(path, "more pixels than Pillow takes") from None
    except UserError:
        raise
    except Image.UnidentifiedImageError:
        raise UserError(f"{path} is no picture in a format that is read here; save it as PNG or JPEG.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({one_line(error.strerror or error)}); save it anew.") from None
    except Exception as error:  # Pillow's decoders meet damage with almost anything: SyntaxError, struct.error, ...
        raise UserError(f"{path} is damaged ({one_line(error)}); save it anew.") from None


def known_formats():
    """Those of `FORMATS` that this Pillow was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def small_picture(path, image, fit):
    """The uint8 array of an opened, not yet decoded picture."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise too_large(path, f"{width} x {height} pixels")
    image.load()
    # TIFF files are turned while they load, and lose the tag.
    turn = TURNS.get(image.getexif().get(ORIENTATION))
    small = resized(middle_square(image) if fit == "crop" else image)
    small = small.transpose(turn) if turn is not None else small
    return np.array(small.convert("RGB"))


def middle_square(image):
    """The largest square around the middle, without the pixels beside it."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


def resized(image):
    """A 32 x 32 picture in mode RGB, RGBA without transparency, or L."""
    if image.mode in DEEP_GREY:
        return eight_bits(image)
    if not image.has_transparency_data:
        return resize(image.convert("RGB"))
    # Laying the small picture on the background costs less memory; resizing weighs colours by their opacity.
    small = resize(image.convert("RGBA"))
    return Image.alpha_composite(Image.new("RGBA", small.size, BACKGROUND), small)


def resize(image):
    return image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def eight_bits(image):
    """Deep grey at 32 x 32 in 8 bits: integers count to 65,535; floats to 1, or to 255 if one is larger."""
    floats_to = 1 if image.mode == "F" and image.getextrema()[1] <= 1 else 255
    white = floats_to if image.mode == "F" else 65_535
    grey = np.asarray(resize(image.convert("F")))
    if not np.isfinite(grey).all():
        raise ValueError("it holds values that are not finite")
    return Image.fromarray(np.clip(grey * (255 / white) + 0.5, 0, 255).astype(np.uint8))


def too_large(path, how):
    return UserError(f"{path} is too large ({how}; {MAX_PIXELS:,} are the limit); make it smaller first.")


def one_line(error):
    """What an error says, short and on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
