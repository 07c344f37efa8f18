"""The playhouse: consistent plans, honest annotations, the same bytes from the same seed, real H.264
files.
"""

import hashlib
import json
import multiprocessing
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from mmn_index.train.playhouse import ACTIONS, LABELS, OPPOSITES, Plan, make_plan, make_playhouse, statistics
from mmn_index.train.playhouse.brush import Brush
from mmn_index.train.playhouse.figure import FigurePainter
from mmn_index.train.playhouse.layout import CANVAS_WIDTH, LEFT, RIGHT
from mmn_index.train.playhouse.looks import draw_look
from mmn_index.train.playhouse.motion import Staging
from mmn_index.train.playhouse.plan import Moment
from mmn_index.train.playhouse.render import (
    FPS,
    FRAME_HEIGHT,
    FRAME_WIDTH,
    Camera,
    Canvas,
    frame_count,
    frames,
    write_video,
)
from mmn_index.train.playhouse.room import RoomPainter
from PIL import Image, ImageChops

from mmn_index.errors import ConfigError, OutputError


@cache
def train_plans() -> tuple[Plan, ...]:
    return tuple(make_plan(0, "train", number) for number in range(240))


@cache
def held_out_plans() -> tuple[Plan, ...]:
    return tuple(make_plan(0, "test", number) for number in range(60))


def plan_with(label: str) -> tuple[Plan, Moment]:
    """A video in which nobody is in the way: one person, and the moment of `label`."""
    for seed in range(40):
        for number in range(10):
            plan = make_plan(seed, "train", number)
            for moment in plan.moments:
                if moment.label == label and len(plan.roles) == 1:
                    return plan, moment
    raise AssertionError(f"no video of one person with {label!r}")


def pictures(plan: Plan, *times: float) -> list[np.ndarray]:
    """The frames at `times`, in seconds and ascending."""
    wanted = [min(round(time * FPS), frame_count(plan) - 1) for time in times]
    shown = islice(frames(plan), wanted[-1] + 1)
    return [np.asarray(frame, np.float32) for number, frame in enumerate(shown) if number in wanted]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---- plans -----------------------------------------------------------------------------------------------


def test_moments_lie_inside_videos_of_the_promised_length() -> None:
    for plan in train_plans():
        assert 20.0 <= plan.duration <= 60.0
        assert 2 <= len(plan.moments) <= 6
        assert list(plan.moments) == sorted(plan.moments, key=lambda m: (m.start, m.end))
        for moment in plan.moments:
            assert 0.0 <= moment.start < moment.end <= plan.duration
            assert 1.9 <= moment.end - moment.start <= 9.0
            assert moment.label in ACTIONS


def test_bodies_move_without_gaps_or_jumps() -> None:
    for plan in train_plans():
        for role in plan.roles:
            assert role.beats[0].start == 0.0
            assert role.beats[-1].end == plan.duration
            for last, beat in zip(role.beats, role.beats[1:], strict=False):
                assert beat.start == pytest.approx(last.end)
                assert (beat.x, beat.y) == pytest.approx((last.x_end, last.y_end)) or "walk through door" in (
                    last.label,
                    beat.label,
                )
                assert LEFT <= beat.x_end <= RIGHT


def test_hands_stay_close_to_bodies_and_heads_inside_the_canvas() -> None:
    for plan in train_plans()[:12]:
        staging = Staging(plan, [1.05] * len(plan.roles))
        for time in np.arange(0.0, plan.duration, 0.5):
            for figure in staging.at(float(time)).figures:
                if figure is None:
                    continue
                assert np.hypot(*np.subtract(figure.near_hand, figure.shoulder)) < 76
                assert 0 < figure.head[1] < figure.y
                assert -20 < figure.head[0] < CANVAS_WIDTH + 20


# What must hold before an action and what it changes, written down a second time and independently of the
# script.
_WORLD = {
    "open door": ("door", False, True),
    "close door": ("door", True, False),
    "open window": ("window", False, True),
    "close window": ("window", True, False),
    "turn on light": ("light", False, True),
    "turn off light": ("light", True, False),
}
_HANDS = {
    "take cup": ("nothing", "cup"),
    "put down cup": ("cup", "nothing"),
    "throw ball": ("ball", "nothing"),
    "pick up ball": ("nothing", "ball"),
    "pick up bag": ("nothing", "bag"),
    "put down bag": ("bag", "nothing"),
    "drink": ("cup", "cup"),
    "open book": ("book", "book"),
    "close book": ("book", "book"),
}
_POSTURES = {
    "sit down": ("stand", "sit"),
    "stand up": ("sit", "stand"),
    "lie down": ("stand", "lie"),
    "get up": ("lie", "stand"),
}


def check_consistent(plan: Plan) -> None:
    state = {"door": plan.door_open, "window": plan.window_open, "light": plan.light_on}
    for moment in plan.moments:
        if moment.label in _WORLD:
            thing, before, after = _WORLD[moment.label]
            assert state[thing] is before, (plan.video_id, moment)
            state[thing] = after
        if moment.label == "walk through door":
            assert state["door"] is True
    for role in plan.roles:
        hand, posture, book = role.carry, role.beats[0].posture, role.book_open
        for deed in role.deeds:
            needed, becomes = _HANDS.get(deed.label, (hand, hand))
            assert hand == needed, (plan.video_id, deed)
            hand = becomes
            needed, becomes = _POSTURES.get(deed.label, (posture, posture))
            assert posture == needed, (plan.video_id, deed)
            posture = becomes
            if deed.label in ("open book", "close book"):
                assert book is (deed.label == "close book")
                book = not book


def test_nobody_opens_what_is_open_or_puts_down_what_is_not_held() -> None:
    for plan in train_plans():
        check_consistent(plan)


def test_the_consistency_check_itself_can_fail() -> None:
    plan = next(p for p in train_plans() if any(m.label == "open door" for m in p.moments))
    with pytest.raises(AssertionError):
        check_consistent(replace(plan, door_open=not plan.door_open))


def test_two_people_never_use_the_same_thing() -> None:
    for plan in train_plans():
        held = [d.label for role in plan.roles for d in role.deeds]
        assert len(held) == len(set(held))
        assert sum(role.carry == "cup" for role in plan.roles) <= 1


def test_every_action_is_equally_frequent() -> None:
    counts = Counter(m.label for plan in train_plans() for m in plan.moments)
    assert set(counts) == set(LABELS)
    assert len(LABELS) >= 16
    assert min(counts.values()) >= 40
    assert max(counts.values()) - min(counts.values()) <= 2


def test_opposites_come_in_both_orders_and_alone() -> None:
    both_ways = Counter[bool]()
    for first, second in OPPOSITES.items():
        assert OPPOSITES[second] == first
        alone = 0
        for plan in train_plans():
            labels = [m.label for m in plan.moments]
            if first in labels and second in labels:
                both_ways[(labels.index(first) < labels.index(second)) == (first < second)] += 1
            alone += first in labels and second not in labels
        assert alone >= 20, first
    assert min(both_ways[True], both_ways[False]) > 0.25 * both_ways.total()


def test_position_in_the_video_does_not_give_the_direction_away() -> None:
    middle = {label: [] for label in LABELS}
    for plan in train_plans():
        for moment in plan.moments:
            middle[moment.label].append((moment.start + moment.end) / 2 / plan.duration)
    for label, opposite in OPPOSITES.items():
        assert abs(np.mean(middle[label]) - np.mean(middle[opposite])) < 0.3, (label, opposite)


def test_some_moments_overlap_also_of_one_person() -> None:
    assert 0.1 < statistics(train_plans()).overlapping < 0.7
    assert any(
        last.end > deed.start
        for plan in train_plans()
        for role in plan.roles
        for last, deed in zip(role.deeds, role.deeds[1:], strict=False)
    )


def test_train_never_says_a_held_back_wording_and_test_says_half() -> None:
    held_back = {w for action in ACTIONS.values() for w in action.held_back}
    seen = {w for action in ACTIONS.values() for w in action.seen}
    assert not held_back & seen
    assert all(len(a.seen) >= 4 and len(a.held_back) >= 2 for a in ACTIONS.values())
    assert {"person opens door", "a person opens the door"} <= set(ACTIONS["open door"].seen)
    train = [m for plan in train_plans() for m in plan.moments]
    assert all(m.sentence in ACTIONS[m.label].seen for m in train)
    test = [m for plan in held_out_plans() for m in plan.moments]
    share = np.mean([m.sentence in ACTIONS[m.label].held_back for m in test])
    assert 0.4 < share < 0.6
    assert all(m.sentence in ACTIONS[m.label].seen + ACTIONS[m.label].held_back for m in test)


def test_held_out_plans_depend_on_seed_split_and_number_alone() -> None:
    assert make_plan(3, "val", 7) == make_plan(3, "val", 7)
    others = [make_plan(4, "val", 7), make_plan(3, "test", 7), make_plan(3, "val", 8)]
    assert all(plan.layout != make_plan(3, "val", 7).layout for plan in others)
    layouts = [plan.layout for plan in (*train_plans(), *held_out_plans())]
    assert len(set(layouts)) == len(layouts)


# ---- pictures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("label", "sign"), [("turn on light", 1), ("turn off light", -1)])
def test_light_changes_the_brightness_of_the_room(label: str, sign: int) -> None:
    plan, moment = plan_with(label)
    before, after = pictures(plan, moment.start, moment.end)
    assert sign * (after.mean() - before.mean()) > 25


@pytest.mark.parametrize("label", ["open door", "close door", "open window", "close window"])
def test_leaf_moves_between_start_and_end_of_the_moment_only(label: str) -> None:
    plan, moment = plan_with(label)
    staging = Staging(plan, [1.0] * len(plan.roles))
    name = label.split()[1]
    before, after = (0.0, 1.0) if label.startswith("open") else (1.0, 0.0)
    assert getattr(staging.at(moment.start), name) == before
    assert getattr(staging.at(moment.end), name) == after
    middle = getattr(staging.at((moment.start + moment.end) / 2), name)
    assert 0.2 < middle < 0.8


def test_open_door_shows_another_picture_in_the_doorway() -> None:
    plan, _ = plan_with("open door")
    still = replace(plan, door_open=not plan.door_open, roles=tuple(replace(r, deeds=()) for r in plan.roles))
    closed = replace(still, door_open=False)
    opened = replace(still, door_open=True)
    difference = np.abs(pictures(opened, 0.0)[0] - pictures(closed, 0.0)[0]).mean(axis=2)
    columns = np.flatnonzero((difference > 30).mean(axis=0) > 0.3)
    assert 20 <= len(columns) <= 110
    assert difference[:, columns].mean() > 3 * max(1.0, np.delete(difference, columns, axis=1).mean())


def test_every_action_moves_its_person() -> None:
    for label in LABELS:
        plan, moment = plan_with(label)
        staging = Staging(plan, [1.0])
        times = np.linspace(moment.start, moment.end - 0.01, 8)
        figures = [staging.at(float(t)).figures[0] for t in times]
        hands = np.array([f.near_hand + f.far_hand + f.head for f in figures if f is not None])
        assert np.ptp(hands, axis=0).max() > 12, label


def test_people_are_painted_within_their_bounds() -> None:
    """Only what lies within is painted again in the next frame."""
    carried = set()
    for plan in train_plans()[:30]:
        look = draw_look(len(plan.roles), np.random.default_rng(plan.number))
        staging = Staging(plan, [person.height for person in look.people])
        for time in np.arange(0.0, plan.duration, 1.3):
            for figure, person in zip(staging.at(float(time)).figures, look.people, strict=True):
                if figure is None or figure.behind_wall:
                    continue
                picture = Image.new("RGB", (600, 450), (255, 0, 255))
                painter = FigurePainter(person, look.objects)
                painter.paint(Brush(picture, 1.1), figure)
                touched = ImageChops.difference(
                    picture, Image.new("RGB", picture.size, (255, 0, 255))
                ).getbbox()
                assert touched is not None
                bounds = [edge * 1.1 for edge in painter.bounds(figure)]
                assert np.all(np.less_equal(bounds[:2], touched[:2])), figure
                assert np.all(np.less_equal(touched[2:], np.add(bounds[2:], 1))), figure
                carried.add(figure.carry)
    assert carried == {"nothing", "cup", "ball", "bag", "book"}


def test_a_frame_does_not_depend_on_the_frames_before_it() -> None:
    """What somebody leaves behind is painted over, in front of furniture and behind it."""
    for plan in train_plans()[:4]:
        look = draw_look(len(plan.roles), np.random.default_rng(0))
        staging = Staging(plan, [person.height for person in look.people])
        room = RoomPainter(plan.layout, look, 1.1)
        painters = [FigurePainter(person, look.objects) for person in look.people]
        walked = Canvas(room, painters)
        for number in range(0, frame_count(plan), 3):
            snapshot = staging.at(number / FPS)
            walked.paint(snapshot)
            fresh = Canvas(room, painters)
            fresh.paint(snapshot)
            assert walked.picture.tobytes() == fresh.picture.tobytes(), (plan.video_id, number)


@pytest.mark.parametrize("offset", [(-9.0, -6.0), (-9.0, 8.0), (9.0, -6.0), (9.0, 8.0), (60.0, 60.0)])
def test_the_camera_may_see_the_edge_of_the_canvas(offset: tuple[float, float]) -> None:
    plan = train_plans()[0]
    look = draw_look(len(plan.roles), np.random.default_rng(0))
    seen = replace(look.camera, zoom=0.89, offset=offset, sway=(7.0, 0.8))
    camera = Camera(seen, np.random.default_rng(0))
    room = RoomPainter(plan.layout, look, camera.view.scale)
    canvas = Canvas(room, [FigurePainter(person, look.objects) for person in look.people])
    staging = Staging(plan, [person.height for person in look.people])
    for number in range(0, 200, 5):
        canvas.paint(staging.at(number / FPS))
        assert camera.record(canvas, number, 1.0).shape == (FRAME_HEIGHT, FRAME_WIDTH, 3)


def test_videos_look_different() -> None:
    first = [next(iter(frames(plan))) for plan in train_plans()[:8]]
    pictures = [np.asarray(f, np.float32) for f in first]
    for i, a in enumerate(pictures):
        for b in pictures[i + 1 :]:
            assert np.abs(a - b).mean() > 8


# ---- files -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("playhouse")
    make_playhouse(out, counts={"train": 2, "val": 1, "test": 1}, seed=285, workers=2)
    return out


def test_files_and_annotations(made: Path) -> None:
    assert sorted(p.name for p in made.iterdir()) == [
        "opposites.json",
        "playhouse.json",
        "test",
        "test.json",
        "train",
        "train.json",
        "val",
        "val.json",
    ]
    assert json.loads((made / "opposites.json").read_text()) == dict(OPPOSITES)
    train = json.loads((made / "train.json").read_text())
    assert sorted(train) == ["train_00000", "train_00001"]
    assert sorted(p.name for p in (made / "train").iterdir()) == ["train_00000.mp4", "train_00001.mp4"]
    for entry in train.values():
        assert len(entry["timestamps"]) == len(entry["sentences"]) == len(entry["labels"]) >= 2
        assert all(0 <= start < end <= entry["duration"] for start, end in entry["timestamps"])


def test_video_is_h264_of_the_annotated_duration(made: Path) -> None:
    duration = json.loads((made / "val.json").read_text())["val_00000"]["duration"]
    with av.open(str(made / "val" / "val_00000.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert (stream.width, stream.height, stream.pix_fmt) == (FRAME_WIDTH, FRAME_HEIGHT, "yuv420p")
        assert stream.average_rate == FPS
        times = [frame.time for frame in container.decode(stream)]
    assert len(times) == round(duration * FPS)
    assert np.allclose(np.diff(times), 1 / FPS)


def test_same_seed_same_bytes_whatever_the_processes(made: Path, tmp_path: Path) -> None:
    make_playhouse(tmp_path, counts={"train": 1, "val": 1}, seed=285, workers=1)
    for name in ("train/train_00000.mp4", "val/val_00000.mp4", "val.json"):
        assert digest(tmp_path / name) == digest(made / name)


def test_another_seed_other_bytes(made: Path, tmp_path: Path) -> None:
    write_video(make_plan(286, "val", 0), tmp_path / "other.mp4")
    assert digest(tmp_path / "other.mp4") != digest(made / "val" / "val_00000.mp4")


def test_finished_videos_are_kept_and_missing_ones_made(made: Path) -> None:
    kept, missing = made / "train" / "train_00000.mp4", made / "train" / "train_00001.mp4"
    before, expected = kept.stat().st_mtime_ns, digest(missing)
    missing.rename(missing.with_name("train_00001.mp4.tmp"))  # as an interrupted run leaves it
    calls: list[tuple[int, int]] = []
    make_playhouse(made, counts={"train": 2}, seed=285, workers=2, report=lambda d, n: calls.append((d, n)))
    assert calls == [(1, 2), (2, 2)]
    assert kept.stat().st_mtime_ns == before
    assert digest(missing) == expected
    assert not missing.with_name("train_00001.mp4.tmp").exists()


def test_a_folder_of_another_seed_is_refused(made: Path) -> None:
    with pytest.raises(OutputError, match="another playhouse"):
        make_playhouse(made, counts={"train": 2}, seed=286)


def test_unwritable_places_are_output_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="file"):
        make_playhouse(tmp_path / "file" / "below", counts={"train": 1})
    with pytest.raises(OutputError, match="cannot be written"):
        write_video(make_plan(0, "train", 0), tmp_path / "file" / "video.mp4")
    (tmp_path / "out" / "train.json").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"train\.json"):
        make_playhouse(tmp_path / "out", counts={"train": 0})


def test_an_error_ends_the_workers(tmp_path: Path) -> None:
    (tmp_path / "train" / "train_00000.mp4.tmp").mkdir(parents=True)  # the first video cannot be written
    with pytest.raises(OutputError, match="train_00000"):
        make_playhouse(tmp_path, counts={"train": 40}, workers=2)
    assert multiprocessing.active_children() == []
    assert len(list((tmp_path / "train").glob("*.mp4"))) < 20


@pytest.mark.parametrize(
    ("counts", "seed", "workers"),
    [({"dev": 1}, 0, 1), ({"train": -1}, 0, 1), ({"train": 1}, -1, 1), ({"train": 1}, 0, 0)],
)
def test_settings_out_of_range_are_refused(
    tmp_path: Path, counts: dict[str, int], seed: int, workers: int
) -> None:
    with pytest.raises(ConfigError):
        make_playhouse(tmp_path / "out", counts=counts, seed=seed, workers=workers)
    assert not (tmp_path / "out").exists()
