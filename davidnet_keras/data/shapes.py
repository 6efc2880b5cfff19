"""The built-in data set: small colour images of ten shapes, drawn from a seed instead of downloaded."""

from functools import lru_cache

import numpy as np

from davidnet_keras.data.aligned import Arrays, aligned_empty
from davidnet_keras.data.class_names import SHAPES_CLASSES
from davidnet_keras.errors import whole_number

SIZE = 32
# Images drawn at a time. Each block has its own generator, so a large set begins with the images of a small one.
BLOCK = 50
# Distances are looked up in tables that span -REACH to REACH; an outline fills about -1 to 1.
REACH, STEPS = 1.75, 224


def load_shapes(train: int = 2_500, test: int = 1_000, seed: int = 0) -> Arrays:
    """Draw images of ten shapes: `SHAPES_CLASSES`, each as often as the others.

    All but the outline varies, colour says nothing about the class, and no class is the mirror image of another.
    Logistic regression on the pixels gets 16 % of the default test set right (benchmarks/linear_on_shapes.py).

    Shapes: images (N, 32, 32, 3) `uint8`, labels (N,) `int64`.

    Args:
        train, test: number of images, 1 or more; no test image is among the training images.
        seed: 0 or more. The same seed gives the same images, and a larger set begins with those of a smaller one.

    Returns:
        `(x_train, y_train), (x_test, y_test)`; do not change them while a data set made from them is in use.

    Raises:
        ValueError: a number is too small or not whole.
    """
    train, test, seed = whole_number("train", train, 1), whole_number("test", test, 1), whole_number("seed", seed, 0)
    return _split(train, (seed, 0)), _split(test, (seed, 1))


def _split(count, key):
    x, y = aligned_empty((count, SIZE, SIZE, 3), np.uint8), aligned_empty(count, np.int64)
    for block, start in enumerate(range(0, count, BLOCK)):
        images, labels = _draw_block(np.random.Generator(np.random.PCG64((*key, block))))
        x[start : start + BLOCK] = images[: count - start]
        y[start : start + BLOCK] = labels[: count - start]
    return x, y


def _draw_block(rng):
    """`BLOCK` images: background, clutter, shadow, shape, clutter in front, light and noise, in this order."""

    def between(low, high):
        return rng.uniform(low, high, (BLOCK, 1)).astype(np.float32)

    labels = np.argsort(rng.random(BLOCK)) % len(SHAPES_CLASSES)
    dark = between(0, 1) < 0.5
    ground = np.where(dark, between(0.05, 0.40), between(0.60, 0.95))  # lightness of what lies behind
    hue = between(0, 1)
    image = _shaded(between, _colour(between, hue, ground), _colour(between, hue + between(-0.2, 0.2), ground))
    for _ in range(2):
        image = _blend(image, _capsule(between), _colour(between, between(0, 1), between(0.1, 0.9)))

    # The shape is lighter than a dark ground and darker than a light one, in any hue.
    tone = ground + np.where(dark, 1, -1) * between(0.36, 0.60)
    hue = between(0, 1)
    colours = [_colour(between, hue + between(-0.1, 0.1), tone) for _ in range(2)]
    distance, shadow = _distances(between, labels)
    image = _blend(image, shadow * between(0, 0.5), np.float32(0.0))
    width = between(0.8, 1.5)
    outline = np.abs(distance + width) - width
    coverage = np.clip(0.5 - np.where(between(0, 1) < 0.2, outline, distance), 0, 1)  # some are only an outline
    rim = np.clip(0.5 - outline, 0, 1) * (between(0, 1) < 0.4)
    shape = _blend(_shaded(between, *colours), rim * between(0, 1), _colour(between, hue + 0.5, tone))
    image = _blend(image, coverage, shape)
    image = _blend(image, _capsule(between), _colour(between, between(0, 1), between(0.1, 0.9)))

    image *= 1 + between(-0.25, 0.25)[..., None] * _ramp(between)[:, None]
    image += (rng.random(image.shape, np.float32) - 0.5) * between(0.02, 0.18)[..., None]
    image = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return image.reshape(BLOCK, 3, SIZE, SIZE).transpose(0, 2, 3, 1), labels


def _pixels():
    """x and y of the pixels' centres from the middle of the image, (1, SIZE * SIZE) each."""
    axis = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
    return np.tile(axis, SIZE)[None], np.repeat(axis, SIZE)[None]


def _colour(between, hue, lightness):
    """RGB (BLOCK, 3, 1) of a hue in turns, with some saturation, about as light as asked."""
    wheel = np.cos(2 * np.pi * (hue - np.array([0, 1 / 3, 2 / 3], np.float32)))
    return np.clip(lightness + between(0.05, 0.40) * wheel, 0, 1).astype(np.float32)[..., None]


def _blend(below, coverage, above):
    return below + coverage[:, None] * (above - below)


def _ramp(between):
    """A plane in any direction, about -1 to 1."""
    x, y = _pixels()
    angle = between(0, 2 * np.pi)
    return (x * np.cos(angle) + y * np.sin(angle)) / (SIZE / 2)


def _shaded(between, colour, other):
    """A gradient from one colour to the other with waves in it, smooth to striped."""
    waves = np.sin(_ramp(between) * between(2, 14) + between(0, 6.3)) * between(0, 0.6) ** 2
    return _blend(colour, 0.5 + 0.5 * _ramp(between) + waves, other)


def _capsule(between):
    """Coverage by one piece of clutter: a stroke, or a dot when it is short."""
    x, y = _pixels()
    x, y = x - between(-16, 16), y - between(-16, 16)
    angle, half_length = between(0, np.pi), between(0, 2.4) ** 2
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    beyond = np.maximum(np.abs(along) - half_length, 0)
    return np.clip(between(0.4, 1.5) + 0.5 - np.sqrt(beyond**2 + across**2), 0, 1) * between(0.4, 1)


def _distances(between, labels):
    """Distance of each pixel to its image's shape, in pixels, negative inside; and the coverage by its soft shadow."""
    x, y = _pixels()
    radius = between(8.5, 13)
    room = 15.5 - radius
    x, y = x - room * between(-1, 1), y - room * between(-1, 1)
    angle, stretch = between(-0.45, 0.45), between(0.88, 1.14)
    first = labels[:, None] * STEPS**2  # where the class's table begins

    def at(x, y):
        across = (x * np.cos(angle) + y * np.sin(angle)) * (stretch / radius)
        down = (y * np.cos(angle) - x * np.sin(angle)) / (stretch * radius)
        grid = (np.stack([across, down]) + REACH) * (STEPS / (2 * REACH))
        column, row = np.clip(grid, 0, STEPS - 1).astype(np.int32)
        return distance_tables().take(first + row * STEPS + column) * radius

    shadow = at(x - between(-2.5, 2.5), y - between(0.5, 3))
    return at(x, y), np.clip(0.5 - shadow / 3, 0, 1)


def outlines():
    """Each class's closed polygon by class name: corners (N, 2), x to the right and y downward."""
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    half_arrow = [(0, -1.2), (0.95, -0.2), (0.38, -0.2), (0.38, 1.1)]
    quarter_cross = np.array([(-0.36, -1.05), (0.36, -1.05), (0.36, -0.36)])
    quarter_turn = np.array([[0, 1], [-1, 0]])
    outer, inner = np.linspace(-2.3, 2.3, 40), np.linspace(2, -2, 30)
    right = np.array([0.42, 0])
    heart = 13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)
    return {
        "circle": _polar(0.88, turn),
        "square": _polar(1.1, np.pi / 4 + np.arange(4) * np.pi / 2),
        "triangle": _polar(1.15, np.arange(3) * 2 * np.pi / 3),
        "star": _polar(np.tile([1.2, 0.52], 5), np.arange(10) * np.pi / 5),
        "heart": np.stack([16 * np.sin(turn) ** 3, -heart - 2], axis=-1) / 15.5,
        "crescent": np.concatenate([_polar(1.05, outer - np.pi / 2), _polar(0.86, inner - np.pi / 2) + right]),
        "cross": np.concatenate([quarter_cross @ np.linalg.matrix_power(quarter_turn, k) for k in range(4)]),
        "arrow": np.array(half_arrow + [(-x, y) for x, y in half_arrow[:0:-1]]),
        "flower": _polar(0.5 + 0.6 * np.sqrt(np.abs(np.cos(3 * turn))), turn),
        "drop": np.stack([1.05 * np.sin(turn) * np.sin(turn / 2), 0.1 - 1.2 * np.cos(turn)], axis=-1),
    }


def _polar(radius, angle):
    """Points by distance from the middle and angle; 0 is up."""
    return np.stack([radius * np.sin(angle), -radius * np.cos(angle)], axis=-1)


@lru_cache(maxsize=1)
def distance_tables():
    """Signed distance to each outline, negative inside, on a square grid: (classes, STEPS, STEPS) `float32`."""
    axis = ((np.arange(STEPS) + 0.5) * (2 * REACH / STEPS) - REACH).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return np.stack([signed_distance(corners.astype(np.float32), x, y) for corners in outlines().values()])


def signed_distance(corners, x, y):
    """Distance of the points (x, y) to the nearest edge of the closed polygon `corners` (N, 2), negative inside it."""
    nearest, inside = np.full(x.shape, np.inf, np.float32), np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        dx, dy = bx - ax, by - ay
        along = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0, 1)
        nearest = np.minimum(nearest, (x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2)
        if dy != 0:  # inside: a ray to the right crosses an odd number of edges
            inside ^= ((ay <= y) != (by <= y)) & (x < ax + (y - ay) * (dx / dy))
    return np.where(inside, -1, 1).astype(np.float32) * np.sqrt(nearest)
