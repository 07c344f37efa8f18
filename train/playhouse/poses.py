"""Poses, and how one turns into another over an action's time u from 0 to 1.

A pose is a tuple of twelve numbers in the body's frame (see body).
"""

import math

from .body import BodyFrame
from .layout import Point
from .plan import Beat

Pose = tuple[float, ...]

# hip x, hip y, lean, head tilt, near foot x, y, far foot x, y, near hand x, y, far hand x, y (from the
# shoulder)
_STAND = (0.0, 88.0, 0.03, 0.0, 5.0, 4.0, -6.0, 4.0, 7.0, -64.0, -5.0, -64.0)
_SIT = (-34.0, 50.0, -0.06, 0.0, 4.0, 4.0, -6.0, 4.0, 28.0, -38.0, 32.0, -40.0)
LIE = (-34.0, 60.0, -1.42, 0.35, 40.0, 56.0, 28.0, 54.0, 52.0, -8.0, 40.0, -14.0)
BEND = (-18.0, 62.0, 1.1, 0.1, 10.0, 4.0, -14.0, 4.0, 20.0, -60.0, 6.0, -58.0)
POSES = {"stand": _STAND, "sit": _SIT, "lie": LIE}


def smooth(u: float) -> float:
    """0 to 1 with a soft start and end."""
    u = min(1.0, max(0.0, u))
    return u * u * (3.0 - 2.0 * u)


def ramp(u: float, start: float, end: float) -> float:
    """0 until `start`, 1 from `end` on."""
    return smooth((u - start) / (end - start))


def plateau(u: float, rise: float, fall: float) -> float:
    """Rises to 1 until `rise`, falls to 0 from `fall` on."""
    return ramp(u, 0.0, rise) * (1.0 - ramp(u, fall, 1.0))


def mix(a: Pose, b: Pose, w: float) -> Pose:
    """From pose `a` (w = 0) to pose `b` (w = 1)."""
    if w <= 0.0:
        return a
    return tuple(p + (q - p) * w for p, q in zip(a, b, strict=True))


def between(a: Point, b: Point, w: float) -> Point:
    """From `a` (w = 0) to `b` (w = 1)."""
    return a[0] + (b[0] - a[0]) * w, a[1] + (b[1] - a[1]) * w


def eased(u: float) -> float:
    """Constant speed with short starts and stops."""
    u = min(1.0, max(0.0, u))
    return 0.75 * u + 0.25 * smooth(u)


def sitting(w: float) -> Pose:
    """From standing (w = 0) to sitting (w = 1), leaning forward on the way."""
    pose = mix(_STAND, _SIT, w)
    lean = 0.55 * math.sin(math.pi * w)
    return (pose[0], pose[1], pose[2] + lean, *pose[3:])


def stride(pose: Pose, distance: float, weight: float) -> Pose:
    """`pose` turned into walking by `weight`, after `distance` pixels."""
    if weight <= 0.0:
        return pose
    phase = distance * math.pi / 46.0
    c, s = math.cos(phase), math.sin(phase)
    walk = (
        0.0,
        83.5 + 2.0 * s * s,
        0.08,
        0.0,
        24.0 * c,
        4.0 + 11.0 * max(0.0, -s),
        -24.0 * c,
        4.0 + 11.0 * max(0.0, s),
        -24.0 * c,
        -58.0,
        24.0 * c,
        -58.0,
    )
    return mix(pose, walk, weight)


def cover_turn(u: float) -> float:
    """Forward offset of the hand that turns the cover of a book, while it opens."""
    return 24.0 * math.cos(math.pi * ramp(u, 0.1, 0.92))


def gesture(beat: Beat, time: float) -> float:
    """How far the free hand is on its way to the head, in some of the longer rests: nothing that is
    annotated.
    """
    length = beat.end - beat.start
    if length < 2.6 or int(beat.start * 100) % 3:
        return 0.0
    return plateau((time - beat.start - 0.4) / 2.0, 0.3, 0.7) * (0.95 + 0.05 * math.sin(9.0 * time))


def throwing(frame: BodyFrame, u: float, near: Point) -> Point:
    """Canvas position of the hand that throws; `near` is where it is otherwise."""
    back, out = frame.from_shoulder(-38.0, 34.0), frame.from_shoulder(62.0, 18.0)
    if u < 0.28:
        return between(near, back, smooth(u / 0.28))
    if u < 0.42:
        w = (u - 0.28) / 0.14
        swung = between(back, out, w)
        return swung[0], swung[1] - 26.0 * math.sin(math.pi * w) * frame.scale
    return between(out, near, smooth((u - 0.5) / 0.35))


def flight_y(w: float, start: float, floor: float) -> float:
    """Height of a thrown ball: an arc, then two bounces."""
    if w < 0.45:
        v = w / 0.45
        return start + (floor - start) * v - 150.0 * v * (1.0 - v) * 0.7
    if w < 0.72:
        v = (w - 0.45) / 0.27
        return floor - 150.0 * v * (1.0 - v)
    v = (w - 0.72) / 0.28
    return floor - 44.0 * v * (1.0 - v)
