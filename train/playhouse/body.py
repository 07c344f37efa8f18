"""A body: its own frame of coordinates, and the joints that bring its hands and feet where they are to be.

The frame's units are pixels of the canvas at depth scale 1, x forward (the facing), y up from the feet;
angles are in radians from upright, positive forward. `Figure` then holds joints in canvas pixels (y down).
"""

import math
from dataclasses import dataclass

from .layout import Point

TORSO, UPPER_ARM, FOREARM, THIGH, SHIN, NECK = 52.0, 35.0, 34.0, 42.8, 42.8, 23.0


@dataclass(slots=True)
class Figure:
    """One person in canvas pixels; near is the viewer's side."""

    x: float
    y: float
    scale: float
    facing: int
    hip: Point
    shoulder: Point
    head: Point
    up: Point  # unit vector from the neck to the top of the head
    near_knee: Point
    near_foot: Point
    far_knee: Point
    far_foot: Point
    near_elbow: Point
    near_hand: Point
    far_elbow: Point
    far_hand: Point
    carry: str
    tilt: float  # of a cup, radians towards the mouth
    book: float  # how far the book is open
    behind_wall: bool


class BodyFrame:
    """A body's own frame, placed in the canvas, and the pose in it."""

    def __init__(self, x: float, y: float, scale: float, facing: int, pose: tuple[float, ...]) -> None:
        self.x, self.y, self.scale, self.facing, self.pose = x, y, scale, facing, pose
        hip_x, hip_y, lean, tilt = pose[:4]
        self._shoulder = (hip_x + TORSO * math.sin(lean), hip_y + TORSO * math.cos(lean))
        head_lean = 0.75 * lean + tilt
        self._up = (math.sin(head_lean), math.cos(head_lean))
        self._head = (self._shoulder[0] + NECK * self._up[0], self._shoulder[1] + NECK * self._up[1])
        self.near_rest = self.from_shoulder(pose[8], pose[9])
        self.far_rest = self.from_shoulder(pose[10], pose[11])

    def place(self, x: float, y: float) -> Point:
        """Canvas position of a point of the body's frame."""
        return self.x + self.facing * self.scale * x, self.y - self.scale * y

    def from_shoulder(self, x: float, y: float) -> Point:
        """Canvas position of a point given from the shoulder."""
        return self.place(self._shoulder[0] + x, self._shoulder[1] + y)

    def mouth(self) -> Point:
        """Canvas position of a hand that holds a cup to the mouth."""
        up = self._up
        return self.place(
            self._head[0] + 19.0 * up[1] - 12.0 * up[0], self._head[1] - 19.0 * up[0] - 12.0 * up[1]
        )

    def solve(self, near: Point, far: Point, carry: str, tilt: float, book: float, behind: bool) -> Figure:
        """Joints for the given hands; hands out of reach are drawn as far as the arm goes."""
        p, f, s = self.pose, self.facing, self.scale
        hip, shoulder = self.place(p[0], p[1]), self.place(*self._shoulder)
        near_foot, far_foot = self.place(p[4], p[5]), self.place(p[6], p[7])
        near_elbow, near = _joint(shoulder, near, UPPER_ARM * s, FOREARM * s, f)
        far_elbow, far = _joint(shoulder, far, UPPER_ARM * s, FOREARM * s, f)
        near_knee, near_foot = _joint(hip, near_foot, THIGH * s, SHIN * s, -f)
        far_knee, far_foot = _joint(hip, far_foot, THIGH * s, SHIN * s, -f)
        return Figure(
            self.x,
            self.y,
            s,
            f,
            hip,
            shoulder,
            self.place(*self._head),
            (f * self._up[0], -self._up[1]),
            near_knee,
            near_foot,
            far_knee,
            far_foot,
            near_elbow,
            near,
            far_elbow,
            far,
            carry,
            tilt,
            book,
            behind,
        )


def _joint(root: Point, end: Point, first: float, second: float, bend: int) -> tuple[Point, Point]:
    """The middle joint of a two-part limb from `root` to `end`, and the end that can be reached."""
    dx, dy = end[0] - root[0], end[1] - root[1]
    distance = math.hypot(dx, dy) or 1e-6
    reach = min(distance, (first + second) * 0.995)
    reach = max(reach, abs(first - second) + 1.0)
    ux, uy = dx / distance, dy / distance
    along = (first * first - second * second + reach * reach) / (2.0 * reach)
    side = math.sqrt(max(0.0, first * first - along * along)) * bend
    middle = (root[0] + ux * along - uy * side, root[1] + uy * along + ux * side)
    return middle, (root[0] + ux * reach, root[1] + uy * reach)
