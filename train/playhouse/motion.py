"""The state of a home and of its people at a time: angles, levels, positions of joints.

A body is described in its own frame first: pixels of the canvas at depth scale 1, x forward (the facing),
y up from the feet, angles in radians from upright, positive forward. `Figure` then holds joints in canvas
pixels (y down). Levels run from 0 (closed, off) to 1 (open, on).
"""

import math
from bisect import bisect_right
from dataclasses import dataclass

from .layout import (
    DOOR_TOP,
    DOOR_WIDTH,
    FLOOR_LINE,
    TABLE_TOP,
    TABLE_Y,
    WALK_Y,
    WINDOW_HEIGHT,
    WINDOW_TOP,
    WINDOW_WIDTH,
    Layout,
    depth_scale,
)
from .script import Beat, Deed, Plan, Role

Point = tuple[float, float]

DOOR_SWING = 1.95  # radians of the open door
HANDLE_UP = 0.5  # height of the door's handle as a share of the door's height
TORSO, UPPER_ARM, FOREARM, THIGH, SHIN, NECK = 52.0, 35.0, 34.0, 42.8, 42.8, 23.0
BEHIND_WALL = 242.0  # feet above this y are outside the room

# hip x, hip y, lean, head tilt, near foot x, y, far foot x, y, near hand x, y, far hand x, y (from the
# shoulder)
_STAND = (0.0, 88.0, 0.03, 0.0, 5.0, 4.0, -6.0, 4.0, 7.0, -64.0, -5.0, -64.0)
_SIT = (-34.0, 50.0, -0.06, 0.0, 4.0, 4.0, -6.0, 4.0, 28.0, -38.0, 32.0, -40.0)
_LIE = (-34.0, 60.0, -1.42, 0.35, 40.0, 56.0, 28.0, 54.0, 52.0, -8.0, 40.0, -14.0)
_BEND = (-18.0, 62.0, 1.1, 0.1, 10.0, 4.0, -14.0, 4.0, 20.0, -60.0, 6.0, -58.0)
_POSES = {"stand": _STAND, "sit": _SIT, "lie": _LIE}
_CARRY = {"cup": (30.0, -30.0), "ball": (24.0, -40.0), "bag": (4.0, -62.0), "book": (32.0, -48.0)}
_FLOOR_THING_UP = {"bag": 30.0, "ball": 14.0}


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


@dataclass(slots=True)
class Snapshot:
    """The home at one time; `cup`, `bag` and `ball` are places outside of hands, or None."""

    door: float
    window: float
    light: float
    cup: Point | None
    bag: Point | None
    ball: Point | None
    figures: list[Figure | None]


def smooth(u: float) -> float:
    """0 to 1 with a soft start and end."""
    u = min(1.0, max(0.0, u))
    return u * u * (3.0 - 2.0 * u)


def _ramp(u: float, start: float, end: float) -> float:
    return smooth((u - start) / (end - start))


def _plateau(u: float, rise: float, fall: float) -> float:
    """Rises to 1 until `rise`, falls to 0 from `fall` on."""
    return _ramp(u, 0.0, rise) * (1.0 - _ramp(u, fall, 1.0))


def _mix(a: tuple[float, ...], b: tuple[float, ...], w: float) -> tuple[float, ...]:
    if w <= 0.0:
        return a
    return tuple(p + (q - p) * w for p, q in zip(a, b, strict=True))


def handle_of_door(layout: Layout, level: float) -> Point:
    """Canvas position of the door's handle; see room for the same perspective."""
    corner_x, bottom, top = leaf_edge(
        layout.door or 0.0, layout.hinge, DOOR_WIDTH, FLOOR_LINE, DOOR_TOP, level
    )
    return corner_x, bottom + (top - bottom) * HANDLE_UP


def leaf_edge(
    middle: float, hinge: int, width: float, bottom: float, top: float, level: float
) -> tuple[float, float, float]:
    """x, bottom and top of the free edge of a leaf that swings into the room on the `hinge` side."""
    angle = DOOR_SWING * level
    near = 1.0 + 0.19 * math.sin(angle) * width / DOOR_WIDTH
    eye = 150.0  # height of the viewer's eye in the canvas
    x = middle + hinge * (width / 2 - width * math.cos(angle) * near)
    return x, eye + (bottom - eye) * near, eye + (top - eye) * near


class Staging:
    """Turns a plan into snapshots.

    Args:
        plan: what happens.
        heights: each person's size, around 1.
    """

    def __init__(self, plan: Plan, heights: list[float]) -> None:
        self.plan = plan
        self.heights = heights
        self._starts = [[beat.start for beat in role.beats] for role in plan.roles]
        self._deeds = {deed.label: deed for role in plan.roles for deed in role.deeds}
        table = plan.layout.table
        cup_top = TABLE_Y - TABLE_TOP - 3.0
        self._cup_place = None if table is None else (table + plan.layout.cup_shift, cup_top)
        self._released = self._release_point()

    def _release_point(self) -> Point | None:
        """Where the ball leaves the hand that throws it."""
        for i, role in enumerate(self.plan.roles):
            for deed in role.deeds:
                if deed.label == "throw ball":
                    time = deed.start + _RELEASE * (deed.end - deed.start) - 1e-4
                    figure = self._figure(i, role, time, Snapshot(0.0, 0.0, 0.0, None, None, None, []))
                    return None if figure is None else figure.near_hand
        return None

    def at(self, time: float) -> Snapshot:
        """The home at `time` seconds."""
        plan, layout = self.plan, self.plan.layout
        door = self._level(time, "open door", "close door", plan.door_open, 0.14, 0.9)
        window = self._level(time, "open window", "close window", plan.window_open, 0.14, 0.9)
        light = self._level(time, "turn on light", "turn off light", plan.light_on, 0.32, 0.72)
        snapshot = Snapshot(door, window, light, None, None, None, [])
        held = set()
        for i, role in enumerate(plan.roles):
            figure = self._figure(i, role, time, snapshot)
            snapshot.figures.append(figure)
            held.add(self._carry(role, time))
        if "cup" not in held and self._cup_place is not None:
            snapshot.cup = self._cup_place
        if "bag" not in held and layout.bag is not None:
            snapshot.bag = (layout.bag, WALK_Y)
        if "ball" not in held:
            snapshot.ball = self._ball(time)
        return snapshot

    def _level(self, time: float, up: str, down: str, first: bool, start: float, end: float) -> float:
        changes = [self._deeds[label] for label in (up, down) if label in self._deeds]
        level = 1.0 if first else 0.0
        for deed in sorted(changes, key=lambda d: d.start):
            if time < deed.start:
                break
            w = _ramp((time - deed.start) / (deed.end - deed.start), start, end)
            level = w if deed.label == up else 1.0 - w
        return level

    def _carry(self, role: Role, time: float) -> str:
        carry = role.carry
        for deed in role.deeds:
            change = _CARRY_CHANGES.get(deed.label)
            if change is not None and time >= deed.start + change[0] * (deed.end - deed.start):
                carry = change[1]
        return carry

    def _ball(self, time: float) -> Point:
        layout, deed = self.plan.layout, self._deeds.get("throw ball")
        rest = (layout.ball, 304.0)
        if deed is None:
            return rest
        u = (time - deed.start) / (deed.end - deed.start)
        if u < _RELEASE:
            return rest
        w = (u - _RELEASE) / (1.0 - _RELEASE)
        if w >= 1.0:
            return rest
        start = self._released or rest
        x = start[0] + (rest[0] - start[0]) * (1.0 - (1.0 - w) ** 1.7)
        return x, _flight_y(w, start[1], rest[1])

    def _figure(self, index: int, role: Role, time: float, snapshot: Snapshot) -> Figure | None:
        beat = role.beats[max(0, bisect_right(self._starts[index], time) - 1)]
        if beat.kind == "away":
            return None
        hands = [d for d in role.deeds if d.start <= time < d.end]
        u = (time - beat.start) / max(1e-6, beat.end - beat.start)
        x, y, facing, behind = self._feet(beat, u, role.enters)
        scale = depth_scale(y) * self.heights[index]
        pose = self._pose(beat, u, x, y, time + 3.1 * index)
        carry = self._carry(role, time)
        figure = _Frame(x, y, scale, facing, pose)
        near, far = self._hands(figure, role, hands, beat, time, carry, snapshot)
        tilt = max((self._sip(d, time) for d in hands), default=0.0)
        return figure.solve(near, far, carry, tilt, self._book(role, time), behind)

    def _feet(self, beat: Beat, u: float, enters: bool) -> tuple[float, float, int, bool]:
        if beat.label == "walk through door" and beat.kind == "act":
            return self._through(beat, 1.0 - u if enters else u, enters)
        w = _eased(u) if beat.kind == "walk" else _ramp(u, 0.2, 0.85)
        facing = beat.facing
        return beat.x + (beat.x_end - beat.x) * w, beat.y + (beat.y_end - beat.y) * w, facing, False

    def _through(self, beat: Beat, u: float, enters: bool) -> tuple[float, float, int, bool]:
        """The way from the door's front (u = 0) to the outside (u = 1)."""
        layout = self.plan.layout
        door, out = layout.door or 0.0, layout.hinge
        x0, y0 = door - out * 46, 282.0
        if u < 0.6:
            w = u / 0.6
            x, y = x0 + (door + out * 4 - x0) * w, y0 + (BEHIND_WALL - 1.0 - y0) * w
        else:
            w = (u - 0.6) / 0.4
            x, y = door + out * (4 + 78 * w), BEHIND_WALL - 1.0 - 8.0 * w
        return x, y, -out if enters else out, y < BEHIND_WALL

    def _pose(self, beat: Beat, u: float, x: float, y: float, time: float) -> tuple[float, ...]:
        pose = _POSES[beat.posture]
        if beat.kind == "act":
            return self._acting_pose(beat, u, pose, x, y)
        if beat.kind == "walk":
            return _stride(pose, math.hypot(x - beat.x, 1.6 * (y - beat.y)), min(1.0, 6 * u, 6 * (1 - u)))
        breath = 0.8 * math.sin(time * 1.9)
        glance = 0.16 * math.sin(time * 0.8) * max(0.0, math.sin(time * 0.37))
        return (
            pose[0],
            pose[1] + breath * 0.5,
            pose[2] + 0.012 * breath,
            pose[3] + glance,
            *pose[4:8],
            pose[8] + breath,
            pose[9] + breath,
            pose[10] - breath,
            pose[11] + breath,
        )

    def _acting_pose(
        self, beat: Beat, u: float, pose: tuple[float, ...], x: float, y: float
    ) -> tuple[float, ...]:
        label = beat.label
        if label in ("sit down", "stand up"):
            w = _ramp(u, 0.05, 0.95) if label == "sit down" else 1.0 - _ramp(u, 0.05, 0.95)
            return _sitting(w)
        if label in ("lie down", "get up"):
            v = u if label == "lie down" else 1.0 - u
            return _mix(_sitting(_ramp(v, 0.0, 0.45)), _LIE, _ramp(v, 0.45, 1.0))
        if label in ("pick up ball", "pick up bag", "put down bag"):
            return _mix(pose, _BEND, _plateau(u, 0.45, 0.55))
        if label in ("take cup", "put down cup"):
            return (*pose[:2], pose[2] + 0.3 * _plateau(u, 0.4, 0.6), *pose[3:])
        if label == "throw ball":
            lean = -0.25 * _ramp(u, 0.0, 0.28) + 0.65 * _ramp(u, 0.28, 0.42) - 0.4 * _ramp(u, 0.5, 0.8)
            step = 22.0 * _ramp(u, 0.25, 0.42) * (1.0 - _ramp(u, 0.6, 0.9))
            return (
                pose[0] + step * 0.4,
                pose[1] - step * 0.15,
                pose[2] + lean,
                pose[3],
                pose[4] + step,
                *pose[5:],
            )
        moved = math.hypot(x - beat.x, 1.6 * (y - beat.y))
        if label == "walk through door":
            return _stride(pose, 1.3 * math.hypot(x, 3.0 * y), 0.9)
        return _stride(pose, moved, 0.45 if beat.x != beat.x_end and 0.2 < u < 0.85 else 0.0)

    def _hands(
        self,
        frame: "_Frame",
        role: Role,
        deeds: list[Deed],
        beat: Beat,
        time: float,
        carry: str,
        snapshot: Snapshot,
    ) -> tuple[Point, Point]:
        """Canvas positions of the near and the far hand."""
        near, far = frame.near_rest, frame.far_rest
        if carry != "nothing":
            dx, dy = _CARRY[carry]
            sway = 3.0 * math.sin(frame.x * 0.07) if beat.kind == "walk" else 0.0
            if carry == "book":  # one reads it higher up than one carries it
                dy += 28.0 * self._book(role, time)
            near = frame.from_shoulder(dx + sway, dy)
            if carry == "book":
                far = frame.from_shoulder(dx + 6.0, dy - 2.0)
        if carry != "book" and not deeds and beat.kind == "idle" and beat.posture == "stand":
            far = _between(far, frame.from_shoulder(15.0, 24.0), _gesture(beat, time))
        for deed in deeds:
            u = (time - deed.start) / (deed.end - deed.start)
            near, far = self._reach(frame, deed.label, u, near, far, carry, snapshot)
        return near, far

    def _reach(
        self, frame: "_Frame", label: str, u: float, near: Point, far: Point, carry: str, snapshot: Snapshot
    ) -> tuple[Point, Point]:
        if label == "throw ball":
            return _throwing(frame, u, near), far
        if label in ("open book", "close book"):
            turn = _cover_turn(u if label == "open book" else 1.0 - u)
            cover = near[0] + frame.facing * turn * frame.scale, near[1] - 8.0
            return near, _between(far, cover, _plateau(u, 0.1, 0.95))
        if label == "drink":
            sips = 1.0 - 0.3 * _plateau((u - 0.42) * 6.0, 0.4, 0.6)
            return _between(near, frame.mouth(), _plateau(u, 0.16, 0.84) * sips), far
        target = self._target(label, u, snapshot)
        if target is None:
            return near, far
        if carry != "nothing" and label in _FREE_HAND:
            return near, _between(far, *target)
        return _between(near, *target), far

    def _target(self, label: str, u: float, snapshot: Snapshot) -> tuple[Point, float] | None:
        """What a hand reaches for, and how far it is on its way there."""
        layout = self.plan.layout
        if label in ("open door", "close door"):
            return handle_of_door(layout, snapshot.door), _plateau(u, 0.14, 0.92)
        if label in ("open window", "close window") and layout.window is not None:
            side, low = -layout.window_side, WINDOW_TOP + WINDOW_HEIGHT
            middle = layout.window + side * WINDOW_WIDTH / 4
            x, bottom, top = leaf_edge(middle, side, WINDOW_WIDTH / 2, low, WINDOW_TOP, snapshot.window)
            return (x, bottom + 0.35 * (top - bottom)), _plateau(u, 0.14, 0.92)
        if label in ("turn on light", "turn off light") and layout.lamp is not None:
            pull = 6.0 * _plateau(u, 0.4, 0.55)
            return (layout.lamp - layout.lamp_side * 8.0, 148.0 + pull), _plateau(u, 0.3, 0.72)
        return self._resting_place(label, _plateau(u, 0.42, 0.56))

    def _resting_place(self, label: str, weight: float) -> tuple[Point, float] | None:
        layout = self.plan.layout
        if label in ("take cup", "put down cup") and self._cup_place is not None:
            return (self._cup_place[0], self._cup_place[1] - 10.0), weight
        if label in ("pick up bag", "put down bag") and layout.bag is not None:
            return (layout.bag, WALK_Y - _FLOOR_THING_UP["bag"]), weight
        if label == "pick up ball":
            return (layout.ball, 304.0 - _FLOOR_THING_UP["ball"]), weight
        return None

    def _sip(self, deed: Deed, time: float) -> float:
        if deed.label != "drink":
            return 0.0
        u = (time - deed.start) / (deed.end - deed.start)
        return 0.9 * _plateau(u, 0.22, 0.82) * (1.0 - 0.8 * _plateau((u - 0.42) * 6.0, 0.4, 0.6))

    def _book(self, role: Role, time: float) -> float:
        level = 1.0 if role.book_open else 0.0
        for deed in role.deeds:
            if deed.label in ("open book", "close book") and time >= deed.start:
                w = _ramp((time - deed.start) / (deed.end - deed.start), 0.1, 0.92)
                level = w if deed.label == "open book" else 1.0 - w
        return level


_RELEASE = 0.4
_CARRY_CHANGES = {
    "take cup": (0.5, "cup"),
    "put down cup": (0.5, "nothing"),
    "throw ball": (_RELEASE, "nothing"),
    "pick up ball": (0.5, "ball"),
    "pick up bag": (0.5, "bag"),
    "put down bag": (0.5, "nothing"),
}
_FREE_HAND = frozenset(
    {"open door", "close door", "open window", "close window", "turn on light", "turn off light"}
)


def _cover_turn(u: float) -> float:
    """Forward offset of the hand that turns the cover of a book, while it opens."""
    return 24.0 * math.cos(math.pi * _ramp(u, 0.1, 0.92))


def _eased(u: float) -> float:
    """Constant speed with short starts and stops."""
    u = min(1.0, max(0.0, u))
    return 0.75 * u + 0.25 * smooth(u)


def _sitting(w: float) -> tuple[float, ...]:
    pose = _mix(_STAND, _SIT, w)
    lean = 0.55 * math.sin(math.pi * w)
    return (pose[0], pose[1], pose[2] + lean, *pose[3:])


def _stride(pose: tuple[float, ...], distance: float, weight: float) -> tuple[float, ...]:
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
    return _mix(pose, walk, weight)


def _flight_y(w: float, start: float, floor: float) -> float:
    """Height of a thrown ball: an arc, then two bounces."""
    if w < 0.45:
        v = w / 0.45
        return start + (floor - start) * v - 150.0 * v * (1.0 - v) * 0.7
    if w < 0.72:
        v = (w - 0.45) / 0.27
        return floor - 150.0 * v * (1.0 - v)
    v = (w - 0.72) / 0.28
    return floor - 44.0 * v * (1.0 - v)


def _gesture(beat: Beat, time: float) -> float:
    """How far the free hand is on its way to the head, in some of the longer rests: nothing that is
    annotated.
    """
    length = beat.end - beat.start
    if length < 2.6 or int(beat.start * 100) % 3:
        return 0.0
    return _plateau((time - beat.start - 0.4) / 2.0, 0.3, 0.7) * (0.95 + 0.05 * math.sin(9.0 * time))


def _throwing(frame: "_Frame", u: float, near: Point) -> Point:
    back, out = frame.from_shoulder(-38.0, 34.0), frame.from_shoulder(62.0, 18.0)
    if u < 0.28:
        return _between(near, back, smooth(u / 0.28))
    if u < 0.42:
        w = (u - 0.28) / 0.14
        swung = _between(back, out, w)
        return swung[0], swung[1] - 26.0 * math.sin(math.pi * w) * frame.scale
    return _between(out, near, smooth((u - 0.5) / 0.35))


def _between(a: Point, b: Point, w: float) -> Point:
    return a[0] + (b[0] - a[0]) * w, a[1] + (b[1] - a[1]) * w


class _Frame:
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
