"""The one fixed camera, and how large things are: where a thing of the world appears in the picture.

Pure Python floats, so that a scene can be composed without rendering it. World: x right, y up, z away from the camera,
the floor at y = 0. Picture: u right and v down, both in [0, 1], whatever the size in pixels.

    (u, v) = ½ + ½ · FOCAL · (right · q, −up · q) / (forward · q),    q = point − EYE
"""

from math import cos, hypot, pi, radians, sin

PITCH = radians(25.0)  # the camera looks down by this angle: depth becomes height in the picture
DISTANCE = 18.0  # from the eye to the point it looks at; a long lens, so that near and far things differ little in size
TARGET = (0.0, 1.0, 0.2)
FOCAL = 5.625  # half a picture is 1 / FOCAL of the distance: at the target, 10 px of a 64 px picture are one unit
EYE = (0.0, TARGET[1] + DISTANCE * sin(PITCH), TARGET[2] - DISTANCE * cos(PITCH))
RIGHT, UP, FORWARD = (1.0, 0.0, 0.0), (0.0, cos(PITCH), sin(PITCH)), (0.0, -sin(PITCH), cos(PITCH))

Z_NEAR, Z_FAR = -2.9, 3.4  # things stand between these depths
Z_WALL = 5.6  # the backdrop

SCALE = {"small": 0.60, "large": 1.02}  # half the width of a thing, in units

# Of every shape at scale 1: the radius of the circle it stands in, its height, and the radius of its flat top.
# A standing ring needs only its own thickness in depth; its circle is as wide as it may turn.
RADIUS = {"sphere": 1.0, "cube": 0.75 * 2**0.5, "cylinder": 0.84, "cone": 0.98, "pyramid": 0.84 * 2**0.5, "ring": 1.0}
HEIGHT = {"sphere": 2.0, "cube": 1.50, "cylinder": 1.56, "cone": 1.90, "pyramid": 1.60, "ring": 2.0}
FLAT_TOP = {"cube": 0.75, "cylinder": 0.84}  # only these bear another thing
CUBE_HALF, PYRAMID_HALF, RING_RADIUS, RING_TUBE = 0.75, 0.84, 0.71, 0.29

# The sign: a board on two posts, facing the camera, as wide as its word. All letters but two have cells of one width.
CELL_WIDTH, LETTER_HEIGHT = 0.86, 1.12
NARROW = {"I": 0.6, "J": 0.85}
BOARD_MARGIN, BOARD_HEIGHT, BOARD_DEPTH, POST_HEIGHT, POST_WIDTH = 0.22, 1.52, 0.14, 0.85, 0.16
MAX_LETTERS = 6

Box = tuple[float, float, float, float]  # u0, v0, u1, v1


def project(x: float, y: float, z: float) -> tuple[float, float, float]:
    """(u, v, depth) of a point of the world; u and v in [0, 1] inside the picture."""
    q = (x - EYE[0], y - EYE[1], z - EYE[2])
    depth = q[1] * FORWARD[1] + q[2] * FORWARD[2]
    return 0.5 + 0.5 * FOCAL * q[0] / depth, 0.5 - 0.5 * FOCAL * (q[1] * UP[1] + q[2] * UP[2]) / depth, depth


def height(shape: str, size: str) -> float:
    """How high a thing reaches above its base: the y of what stands on top of it (flat tops only, see `bears`)."""
    return HEIGHT[shape] * SCALE[size]


def radius(shape: str, size: str) -> float:
    """The radius of the upright cylinder that holds a thing however it is turned: two things whose distance in (x, z)
    exceeds the sum of theirs do not touch."""
    return RADIUS[shape] * SCALE[size]


def bears(shape: str, size: str, above: str, above_size: str) -> bool:
    """Whether `above` may stand on this shape: the top is flat and the base fits on it."""
    return shape in FLAT_TOP and _base(above) * SCALE[above_size] <= 1.02 * FLAT_TOP[shape] * SCALE[size]


def _base(shape: str) -> float:
    """Half the width of what touches the ground, at scale 1."""
    return {"sphere": 0.3, "cube": CUBE_HALF, "cylinder": 0.84, "cone": 0.98, "pyramid": PYRAMID_HALF, "ring": 0.35}[
        shape
    ]


def x_extent(z: float, margin: float = 0.0) -> float:
    """The largest |x| at depth z on the floor that the picture shows, less a margin (a thing's radius, say)."""
    return project(0.0, 0.0, z)[2] / FOCAL - margin


def _outline(shape: str) -> list[tuple[float, float, float]]:
    """Points at scale 1 whose hull holds the shape's outline (tight to a fraction of a per cent)."""
    circle = [(cos(pi * k / 12), sin(pi * k / 12)) for k in range(24)]
    if shape == "cube":
        a = CUBE_HALF
        return [(x, y, z) for x in (-a, a) for y in (0.0, HEIGHT["cube"]) for z in (-a, a)]
    if shape == "pyramid":
        a = PYRAMID_HALF
        return [(x, 0.0, z) for x in (-a, a) for z in (-a, a)] + [(0.0, HEIGHT["pyramid"], 0.0)]
    if shape == "cone":
        r = 1.01 * RADIUS["cone"]
        return [(r * c, 0.0, r * s) for c, s in circle] + [(0.0, HEIGHT["cone"], 0.0)]
    if shape == "cylinder":
        r = 1.01 * RADIUS["cylinder"]
        return [(r * c, y, r * s) for c, s in circle for y in (0.0, HEIGHT["cylinder"])]
    if shape == "ring":  # standing upright in its own x–y plane
        return [(1.01 * c, 1.0 + 1.01 * s, z) for c, s in circle for z in (-0.2, 0.2)] + [
            (0.72 * c, 1.0 + 0.72 * s, z) for c, s in circle for z in (-RING_TUBE, RING_TUBE)
        ]
    raise ValueError(f"unknown shape {shape!r}")


def screen_box(shape: str, size: str, x: float, y: float, z: float, yaw: float = 0.0) -> Box:
    """(u0, v0, u1, v1): the picture's part that a thing covers. yaw in radians, about the upright axis."""
    s = SCALE[size]
    if shape == "sphere":  # a telephoto lens sees a sphere as a circle to 1 %
        u, v, depth = project(x, y + s, z)
        r = 0.506 * FOCAL * s / depth
        return u - r, v - r, u + r, v + r
    c, n = cos(yaw) * s, sin(yaw) * s
    return _box([project(x + c * a + n * b, y + s * h, z - n * a + c * b) for a, h, b in _outline(shape)])


def cells(word: str) -> list[float]:
    """Where the letters' cells begin and the last one ends, from the left end of the word, in units."""
    edges = [0.0]
    for letter in word:
        edges.append(edges[-1] + CELL_WIDTH * NARROW.get(letter, 1.0))
    return edges


def board_width(word: str) -> float:
    return cells(word)[-1] + 2 * BOARD_MARGIN


def sign_box(word: str, x: float, z: float) -> Box:
    """The picture's part that the sign covers, board and posts. (The board alone: `board_box`.)"""
    return _sign_box(word, x, z, 0.0)


def board_box(word: str, x: float, z: float) -> Box:
    return _sign_box(word, x, z, POST_HEIGHT)


def _sign_box(word: str, x: float, z: float, low: float) -> Box:
    a, d = board_width(word) / 2, BOARD_DEPTH / 2
    tall = (low, POST_HEIGHT + BOARD_HEIGHT)
    return _box([project(x + i, y, z + k) for i in (-a, a) for y in tall for k in (-d, d)])


def _box(points: list[tuple[float, float, float]]) -> Box:
    us, vs = [p[0] for p in points], [p[1] for p in points]
    return min(us), min(vs), max(us), max(vs)


def overlap(a: Box, b: Box) -> float:
    """The overlapping area as a part of the smaller box: 0 apart, 1 wholly covered."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))


def inside(box: Box, margin: float = 0.01) -> bool:
    """Whether the whole box lies in the picture, with a margin."""
    return box[0] >= margin and box[1] >= margin and box[2] <= 1 - margin and box[3] <= 1 - margin


def clearance(ax: float, az: float, bx: float, bz: float) -> float:
    """Distance on the floor."""
    return hypot(ax - bx, az - bz)
