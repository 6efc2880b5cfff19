"""The ten outlines of the built-in data set, and the distance of points from them."""

from functools import lru_cache

import numpy as np

# Distances are looked up in tables that span -REACH to REACH; an outline fills about -1 to 1.
REACH, STEPS = 1.75, 224


def outlines():
    """Each class's closed polygon by class name: corners (N, 2), x to the right and y downward."""
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    half_arrow = [(0, -1.2), (0.95, -0.2), (0.38, -0.2), (0.38, 1.1)]
    quarter_cross = np.array([(-0.36, -1.05), (0.36, -1.05), (0.36, -0.36)])
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
        "cross": np.concatenate([quarter_cross @ _quarter_turns(k) for k in range(4)]),
        "arrow": np.array(half_arrow + [(-x, y) for x, y in half_arrow[:0:-1]]),
        "flower": _polar(0.5 + 0.6 * np.sqrt(np.abs(np.cos(3 * turn))), turn),
        "drop": np.stack([1.05 * np.sin(turn) * np.sin(turn / 2), 0.1 - 1.2 * np.cos(turn)], axis=-1),
    }


def _polar(radius, angle):
    """Points by distance from the middle and angle; 0 is up."""
    return np.stack([radius * np.sin(angle), -radius * np.cos(angle)], axis=-1)


def _quarter_turns(count):
    return np.linalg.matrix_power(np.array([[0, 1], [-1, 0]]), count)


@lru_cache(maxsize=1)
def distance_tables():
    """Signed distance to each outline, negative inside, on a square grid: (classes, STEPS, STEPS) `float32`."""
    axis = ((np.arange(STEPS) + 0.5) * (2 * REACH / STEPS) - REACH).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return np.stack([signed_distance(corners.astype(np.float32), x, y) for corners in outlines().values()])


def signed_distance(corners, x, y):
    """Distance from points to the nearest edge of a closed polygon, negative inside it.

    Shapes: corners (N, 2), x and y of any one shape -> that shape.
    """
    nearest, inside = np.full(x.shape, np.inf, np.float32), np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        dx, dy = bx - ax, by - ay
        along = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0, 1)
        nearest = np.minimum(nearest, (x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2)
        if dy != 0:  # inside: a ray to the right crosses an odd number of edges
            inside ^= ((ay <= y) != (by <= y)) & (x < ax + (y - ay) * (dx / dy))
    return np.where(inside, -1, 1).astype(np.float32) * np.sqrt(nearest)
