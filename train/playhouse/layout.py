"""Where things stand in a home, and where a person stands to use them.

Units are pixels of the canvas (480 x 360, y down). The room is seen from the front: the back wall meets
the floor at FLOOR_LINE, and someone whose feet are at y is drawn `depth_scale(y)` as large as someone
at WALK_Y. A side or facing is +1 (right) or -1 (left).
"""

import math
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float]

CANVAS_WIDTH, CANVAS_HEIGHT = 480, 360
FLOOR_LINE = 240.0
WALK_Y = 302.0
LEFT, RIGHT = 64.0, 416.0  # feet stay between these, so that the widest camera shift still shows them

DOOR_WIDTH, DOOR_TOP = 80.0, 54.0
WINDOW_WIDTH, WINDOW_HEIGHT, WINDOW_TOP = 92.0, 80.0, 84.0
SOFA_WIDTH, SOFA_Y, SOFA_SEAT = 172.0, 276.0, 46.0
CHAIR_WIDTH, CHAIR_Y, CHAIR_SEAT = 60.0, 300.0, 44.0
TABLE_WIDTH, TABLE_Y, TABLE_TOP = 80.0, 288.0, 68.0
LAMP_WIDTH, LAMP_Y, LAMP_HEIGHT = 46.0, 264.0, 152.0
DOOR_SWING = 1.95  # radians of an open leaf
SEAT_REACH = 34.0  # from the planted feet back to the hips of someone who sits

_FLOOR_WIDTH = {
    "door": DOOR_WIDTH,
    "window": WINDOW_WIDTH,
    "sofa": SOFA_WIDTH,
    "chair": CHAIR_WIDTH,
    "table": TABLE_WIDTH,
    "lamp": LAMP_WIDTH,
}
_CAPACITY = 372.0


@dataclass(frozen=True, slots=True)
class Layout:
    """Positions of what a home has; x is the middle of a thing, None what the home lacks.

    Attributes:
        hinge: side of the door's hinge.
        window_side, lamp_side, table_side, bag_side, ball_side: facing of someone who uses the thing.
        sofa_head: side on which the head of someone lying is.
        chair_facing: where someone sitting looks.
        ball: where the ball lies, or where it comes to rest when thrown.
        ball_thrown_from: distance of the thrower from the picture's far edge.
        cup_shift: the cup's place on the table, from its middle.
    """

    door: float | None
    hinge: int
    window: float | None
    window_side: int
    sofa: float | None
    sofa_head: int
    chair: float | None
    chair_facing: int
    table: float | None
    table_side: int
    cup_shift: float
    lamp: float | None
    lamp_side: int
    bag: float | None
    bag_side: int
    ball: float
    ball_side: int
    ball_thrown_from: float


@dataclass(frozen=True, slots=True)
class Station:
    """Where someone's feet are before (x, y) and after (x_end, y) an action, and the facing."""

    x: float
    y: float
    facing: int
    x_end: float


def depth_scale(y: float) -> float:
    """Size of someone whose feet are at `y`, 1 at WALK_Y."""
    return 1.0 - (WALK_Y - y) * 0.0021


def leaf_edge(
    middle: float, hinge: int, width: float, bottom: float, top: float, level: float
) -> tuple[float, float, float]:
    """x, bottom and top of the free edge of a leaf that swings into the room on the `hinge` side."""
    angle = DOOR_SWING * level
    near = 1.0 + 0.19 * math.sin(angle) * width / DOOR_WIDTH
    eye = 150.0  # height of the viewer's eye in the canvas
    x = middle + hinge * (width / 2 - width * math.cos(angle) * near)
    return x, eye + (bottom - eye) * near, eye + (top - eye) * near


def fits(things: frozenset[str]) -> bool:
    """Whether a home has room for all of `things`."""
    return _floor_use(things) <= _CAPACITY


def _floor_use(things: frozenset[str]) -> float:
    over_sofa = "sofa" in things  # a window hangs over the sofa
    return sum(
        w for name, w in _FLOOR_WIDTH.items() if name in things and not (name == "window" and over_sofa)
    )


def furnish(needed: frozenset[str], rng: np.random.Generator) -> Layout:
    """A random home that has the `needed` things and some more, as many as fit."""
    things = set(needed)
    for extra in rng.permutation(["door", "window", "chair", "table", "lamp", "sofa", "bag"]):
        if rng.random() < 0.6 and fits(frozenset(things | {str(extra)})):
            things.add(str(extra))
    x = _places(frozenset(things), rng)
    bag = float(rng.uniform(LEFT + 20, RIGHT - 20)) if "bag" in things else None
    ball = float(rng.uniform(258, RIGHT - 14)) if rng.random() < 0.5 else float(rng.uniform(LEFT + 14, 222))
    return Layout(
        door=x.get("door"),
        hinge=_side(x.get("door"), rng, 30.0),
        window=x.get("window"),
        window_side=_side(x.get("window"), rng, 30.0),
        sofa=x.get("sofa"),
        sofa_head=_either(rng),
        chair=x.get("chair"),
        chair_facing=-_side(x.get("chair"), rng, 5.0),
        table=x.get("table"),
        table_side=_side(x.get("table"), rng, 10.0),
        cup_shift=float(rng.uniform(-6, 6)),
        lamp=x.get("lamp"),
        lamp_side=_side(x.get("lamp"), rng, 0.0),
        bag=bag,
        bag_side=_side(bag, rng, -10.0),
        ball=ball,
        ball_side=_side(ball, rng, -10.0),
        ball_thrown_from=float(rng.uniform(LEFT + 20, LEFT + 70)),
    )


def _either(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


def _side(x: float | None, rng: np.random.Generator, margin: float) -> int:
    """A facing for someone who stands beside a thing at `x` and still inside the picture."""
    if x is None:
        return _either(rng)
    if x - 46.0 - margin < LEFT:
        return -1
    if x + 46.0 + margin > RIGHT:
        return 1
    return _either(rng)


def _places(things: frozenset[str], rng: np.random.Generator) -> dict[str, float]:
    row = [n for n in _FLOOR_WIDTH if n in things and not (n == "window" and "sofa" in things)]
    row = [row[i] for i in rng.permutation(len(row))]
    gaps = rng.dirichlet(np.ones(len(row) + 1)) * max(0.0, _CAPACITY - _floor_use(things))
    at = (CANVAS_WIDTH - _CAPACITY) / 2
    places: dict[str, float] = {}
    for name, gap in zip(row, gaps, strict=False):
        at += float(gap)
        places[name] = at + _FLOOR_WIDTH[name] / 2
        at += _FLOOR_WIDTH[name]
    if "window" in things and "sofa" in things:
        places["window"] = places["sofa"] + float(rng.uniform(-16, 16))
    return places


def inside(x: float) -> float:
    """`x` moved to where feet can be."""
    return min(RIGHT, max(LEFT, x))


def station(layout: Layout, label: str) -> Station | None:
    """Where the action `label` is done, None where it does not matter."""
    if label in ("open door", "close door") and layout.door is not None:
        free = layout.door - layout.hinge * DOOR_WIDTH / 2
        ends = (free - layout.hinge * 32, free + layout.hinge * 6)
        first, last = ends if label == "open door" else ends[::-1]
        return Station(first, 272.0, layout.hinge, last)
    if label == "walk through door" and layout.door is not None:
        x = layout.door - layout.hinge * 46
        return Station(x, 282.0, layout.hinge, x)
    if label in ("open window", "close window") and layout.window is not None:
        return _still(layout.window - layout.window_side * 60, 276.0, layout.window_side)
    if label in ("turn on light", "turn off light") and layout.lamp is not None:
        return _still(layout.lamp - layout.lamp_side * 38, 272.0, layout.lamp_side)
    return _floor_station(layout, label)


def _floor_station(layout: Layout, label: str) -> Station | None:
    if label in ("sit down", "stand up") and layout.chair is not None:
        return _still(layout.chair + layout.chair_facing * SEAT_REACH, CHAIR_Y, layout.chair_facing)
    if label in ("lie down", "get up") and layout.sofa is not None:
        return _still(layout.sofa - layout.sofa_head * 46, SOFA_Y + 6, -layout.sofa_head)
    if label in ("take cup", "put down cup") and layout.table is not None:
        return _still(
            layout.table + layout.cup_shift - layout.table_side * 50, TABLE_Y + 6, layout.table_side
        )
    if label in ("pick up bag", "put down bag") and layout.bag is not None:
        return _still(layout.bag - layout.bag_side * 36, WALK_Y, layout.bag_side)
    if label == "pick up ball":
        return _still(layout.ball - layout.ball_side * 36, WALK_Y, layout.ball_side)
    if label == "throw ball":
        if layout.ball > CANVAS_WIDTH / 2:
            return _still(layout.ball_thrown_from, WALK_Y, 1)
        return _still(CANVAS_WIDTH - layout.ball_thrown_from, WALK_Y, -1)
    return None


def _still(x: float, y: float, facing: int) -> Station:
    x = inside(x)
    return Station(x, y, facing, x)
