"""The state of a home and of its people at a time: levels, and people with what they hold.

Levels run from 0 (closed, off) to 1 (open, on).
"""

import math
from bisect import bisect_right
from dataclasses import dataclass

from .body import BodyFrame, Figure
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
    Point,
    depth_scale,
    leaf_edge,
)
from .plan import Beat, Deed, Plan, Role
from .poses import (
    BEND,
    LIE,
    POSES,
    Pose,
    between,
    cover_turn,
    eased,
    flight_y,
    gesture,
    mix,
    plateau,
    ramp,
    sitting,
    stride,
    throwing,
)

BEHIND_WALL = 242.0  # feet above this y are outside the room

_HANDLE_UP = 0.5  # height of the door's handle as a share of the door's height
_CARRY = {"cup": (30.0, -30.0), "ball": (24.0, -40.0), "bag": (4.0, -62.0), "book": (32.0, -48.0)}
_FLOOR_THING_UP = {"bag": 30.0, "ball": 14.0}
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
            w = ramp((time - deed.start) / (deed.end - deed.start), start, end)
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
        return x, flight_y(w, start[1], rest[1])

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
        figure = BodyFrame(x, y, scale, facing, pose)
        near, far = self._hands(figure, role, hands, beat, time, carry, snapshot)
        tilt = max((self._sip(d, time) for d in hands), default=0.0)
        return figure.solve(near, far, carry, tilt, self._book(role, time), behind)

    def _feet(self, beat: Beat, u: float, enters: bool) -> tuple[float, float, int, bool]:
        if beat.label == "walk through door" and beat.kind == "act":
            return self._through(beat, 1.0 - u if enters else u, enters)
        w = eased(u) if beat.kind == "walk" else ramp(u, 0.2, 0.85)
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

    def _pose(self, beat: Beat, u: float, x: float, y: float, time: float) -> Pose:
        pose = POSES[beat.posture]
        if beat.kind == "act":
            return self._acting_pose(beat, u, pose, x, y)
        if beat.kind == "walk":
            return stride(pose, math.hypot(x - beat.x, 1.6 * (y - beat.y)), min(1.0, 6 * u, 6 * (1 - u)))
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

    def _acting_pose(self, beat: Beat, u: float, pose: Pose, x: float, y: float) -> Pose:
        label = beat.label
        if label in ("sit down", "stand up"):
            w = ramp(u, 0.05, 0.95) if label == "sit down" else 1.0 - ramp(u, 0.05, 0.95)
            return sitting(w)
        if label in ("lie down", "get up"):
            v = u if label == "lie down" else 1.0 - u
            return mix(sitting(ramp(v, 0.0, 0.45)), LIE, ramp(v, 0.45, 1.0))
        if label in ("pick up ball", "pick up bag", "put down bag"):
            return mix(pose, BEND, plateau(u, 0.45, 0.55))
        if label in ("take cup", "put down cup"):
            return (*pose[:2], pose[2] + 0.3 * plateau(u, 0.4, 0.6), *pose[3:])
        if label == "throw ball":
            lean = -0.25 * ramp(u, 0.0, 0.28) + 0.65 * ramp(u, 0.28, 0.42) - 0.4 * ramp(u, 0.5, 0.8)
            step = 22.0 * ramp(u, 0.25, 0.42) * (1.0 - ramp(u, 0.6, 0.9))
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
            return stride(pose, 1.3 * math.hypot(x, 3.0 * y), 0.9)
        return stride(pose, moved, 0.45 if beat.x != beat.x_end and 0.2 < u < 0.85 else 0.0)

    def _hands(
        self,
        frame: BodyFrame,
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
            far = between(far, frame.from_shoulder(15.0, 24.0), gesture(beat, time))
        for deed in deeds:
            u = (time - deed.start) / (deed.end - deed.start)
            near, far = self._reach(frame, deed.label, u, near, far, carry, snapshot)
        return near, far

    def _reach(
        self, frame: BodyFrame, label: str, u: float, near: Point, far: Point, carry: str, snapshot: Snapshot
    ) -> tuple[Point, Point]:
        if label == "throw ball":
            return throwing(frame, u, near), far
        if label in ("open book", "close book"):
            turn = cover_turn(u if label == "open book" else 1.0 - u)
            cover = near[0] + frame.facing * turn * frame.scale, near[1] - 8.0
            return near, between(far, cover, plateau(u, 0.1, 0.95))
        if label == "drink":
            sips = 1.0 - 0.3 * plateau((u - 0.42) * 6.0, 0.4, 0.6)
            return between(near, frame.mouth(), plateau(u, 0.16, 0.84) * sips), far
        target = self._target(label, u, snapshot)
        if target is None:
            return near, far
        if carry != "nothing" and label in _FREE_HAND:
            return near, between(far, *target)
        return between(near, *target), far

    def _target(self, label: str, u: float, snapshot: Snapshot) -> tuple[Point, float] | None:
        """What a hand reaches for, and how far it is on its way there."""
        layout = self.plan.layout
        if label in ("open door", "close door"):
            return _handle_of_door(layout, snapshot.door), plateau(u, 0.14, 0.92)
        if label in ("open window", "close window") and layout.window is not None:
            side, low = -layout.window_side, WINDOW_TOP + WINDOW_HEIGHT
            middle = layout.window + side * WINDOW_WIDTH / 4
            x, bottom, top = leaf_edge(middle, side, WINDOW_WIDTH / 2, low, WINDOW_TOP, snapshot.window)
            return (x, bottom + 0.35 * (top - bottom)), plateau(u, 0.14, 0.92)
        if label in ("turn on light", "turn off light") and layout.lamp is not None:
            pull = 6.0 * plateau(u, 0.4, 0.55)
            return (layout.lamp - layout.lamp_side * 8.0, 148.0 + pull), plateau(u, 0.3, 0.72)
        return self._resting_place(label, plateau(u, 0.42, 0.56))

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
        return 0.9 * plateau(u, 0.22, 0.82) * (1.0 - 0.8 * plateau((u - 0.42) * 6.0, 0.4, 0.6))

    def _book(self, role: Role, time: float) -> float:
        level = 1.0 if role.book_open else 0.0
        for deed in role.deeds:
            if deed.label in ("open book", "close book") and time >= deed.start:
                w = ramp((time - deed.start) / (deed.end - deed.start), 0.1, 0.92)
                level = w if deed.label == "open book" else 1.0 - w
        return level


def _handle_of_door(layout: Layout, level: float) -> Point:
    """Canvas position of the door's handle; see room for the same perspective."""
    corner_x, bottom, top = leaf_edge(
        layout.door or 0.0, layout.hinge, DOOR_WIDTH, FLOOR_LINE, DOOR_TOP, level
    )
    return corner_x, bottom + (top - bottom) * _HANDLE_UP
