"""The playhouse with people: who is meant, boxes against the pixels of rendered frames, a detector's faults."""

import json
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command
from mmn_index.train.playhouse import (
    ACTIONS,
    LABELS,
    Plan,
    described,
    detect,
    make_people_plan,
    make_plan,
    make_playhouse,
    people_boxes,
    tracks,
)
from mmn_index.train.playhouse import render as rendering
from mmn_index.train.playhouse.boxes import runs, visible
from mmn_index.train.playhouse.brush import Brush
from mmn_index.train.playhouse.figure import FigurePainter
from mmn_index.train.playhouse.layout import DOOR_WIDTH
from mmn_index.train.playhouse.looks import Look, draw_look
from mmn_index.train.playhouse.motion import Staging
from mmn_index.train.playhouse.people import every_deed
from mmn_index.train.playhouse.people_files import people_entries
from mmn_index.train.playhouse.plan import Moment
from mmn_index.train.playhouse.render import FPS, FRAME_HEIGHT, FRAME_WIDTH, Camera, Canvas, frame_count
from mmn_index.train.playhouse.room import FRONT_Y, RoomPainter
from test_playhouse import check_consistent

from mmn_index.errors import OutputError
from mmn_index.evaluation.tube_truths import read_truths


@cache
def plans(split: str = "train") -> tuple[Plan, ...]:
    return tuple(make_people_plan(0, split, number) for number in range(60))


@cache
def boxes_of(number: int) -> np.ndarray:
    return people_boxes(plans()[number])


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of boxes (..., 4); 0 where one is missing."""
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    areas = [(x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1]) for x in (a, b)]
    inner = sides.prod(axis=-1)
    return np.nan_to_num(inner / (areas[0] + areas[1] - inner))


# ---- plans -----------------------------------------------------------------------------------------------


def test_each_video_has_two_or_three_people_and_one_moment_that_one_of_them_does() -> None:
    for plan in plans() + plans("test"):
        assert len(plan.roles) in (2, 3)
        (moment,) = plan.moments
        labels = [{deed.label for deed in role.deeds} for role in plan.roles]
        assert all(labels)
        assert [i for i, done in enumerate(labels) if moment.label in done] == [plan.who]
        assert all(not a & b for a, b in combinations(labels, 2))  # nobody does what another one does
        assert moment.sentence in ACTIONS[moment.label].seen + ACTIONS[moment.label].held_back
    assert Counter(len(plan.roles) for plan in plans()) == {2: 30, 3: 30}
    assert Counter(plan.who for plan in plans()).keys() == {0, 1, 2}


def test_somebody_else_acts_during_half_of_the_moment_at_least() -> None:
    for plan in plans() + plans("test"):
        (moment,) = plan.moments
        others = [deed for i, role in enumerate(plan.roles) if i != plan.who for deed in role.deeds]
        shared = max(min(d.end, moment.end) - max(d.start, moment.start) for d in others)
        assert shared > 0.49 * (moment.end - moment.start)


@pytest.mark.parametrize("split", ["train", "test"])
def test_sentences_are_of_every_action_equally_often(split: str) -> None:
    assert Counter(plan.moments[0].label for plan in plans(split)) == dict.fromkeys(LABELS, 3)
    besides = Counter(
        deed.label
        for plan in plans(split)
        for i, role in enumerate(plan.roles)
        for deed in role.deeds
        if (i, deed.label) != (plan.who, plan.moments[0].label)
    )
    assert besides.keys() == set(LABELS)
    assert max(besides.values()) < 2 * min(besides.values())


def test_held_out_plans_use_wordings_that_train_never_has() -> None:
    assert all(p.moments[0].sentence in ACTIONS[p.moments[0].label].seen for p in plans())
    held_back = [p.moments[0].sentence in ACTIONS[p.moments[0].label].held_back for p in plans("test")]
    assert sum(held_back) == 30


def test_nobody_gets_up_from_a_sofa_while_the_person_stands_up_is_asked_for() -> None:
    for plan in plans() + plans("test"):
        if plan.moments[0].label == "stand up":
            assert "get up" not in {deed.label for role in plan.roles for deed in role.deeds}


def test_what_several_people_do_is_consistent() -> None:
    for plan in plans():
        deeds = sorted((d for role in plan.roles for d in role.deeds), key=lambda d: d.start)
        check_consistent(replace(plan, moments=tuple(Moment(d.start, d.end, d.label, "") for d in deeds)))


def test_a_plan_is_a_function_of_seed_split_and_number() -> None:
    plan = make_people_plan(3, "val", 7)
    assert plan == make_people_plan(3, "val", 7)
    others = (make_people_plan(4, "val", 7), make_people_plan(3, "test", 7), make_plan(3, "val", 7))
    assert all(other.layout != plan.layout for other in others)


def test_a_sentence_about_each_action_of_each_person() -> None:
    """Nobody else does the same, and the plan's own moment is one of them, word for word."""
    for plan in plans() + plans("test"):
        found = every_deed(plan)
        assert (plan.who, plan.moments[0]) in found
        done = {(i, deed.label) for i, role in enumerate(plan.roles) for deed in role.deeds}
        labels = {label for _, label in done}
        unclear = "get up" in labels and "stand up" in labels
        assert len(found) == len(done) - unclear
        assert {(i, moment.label) for i, moment in found} <= done
        assert not unclear or "stand up" not in {moment.label for _, moment in found}
        assert [moment.start for _, moment in found] == sorted(moment.start for _, moment in found)
        assert found == every_deed(plan)
    assert all(m.sentence in ACTIONS[m.label].seen for p in plans() for _, m in every_deed(p))
    said = [m.sentence in ACTIONS[m.label].held_back for p in plans("test") for _, m in every_deed(p)]
    assert 0.4 < np.mean(said) < 0.6


# ---- boxes -----------------------------------------------------------------------------------------------


def moving(zoom: float, sway: tuple[float, float]) -> object:
    """Draws looks whose camera has this zoom and moves so far, without noise."""

    def drawn(people: int, rng: np.random.Generator) -> Look:
        look = draw_look(people, rng)
        return replace(look, camera=replace(look.camera, zoom=zoom, sway=sway, rates=(0.2, 2.0), noise=0.0))

    return drawn


class Stage:
    """Frames of a plan with some of its people."""

    def __init__(self, plan: Plan) -> None:
        look, rng = rendering.drawn_look(plan)
        self.staging = Staging(plan, [person.height for person in look.people])
        self.camera = Camera(replace(look.camera, noise=0.0), rng)
        self.room = RoomPainter(plan.layout, look, self.camera.view.scale)
        self.painters = [FigurePainter(person, look.objects) for person in look.people]

    def frame(self, number: int, person: int | None) -> np.ndarray:
        snapshot = self.staging.at(number / FPS)
        alone = [figure if i == person else None for i, figure in enumerate(snapshot.figures)]
        canvas = Canvas(self.room, self.painters)
        canvas.paint(replace(snapshot, figures=alone))
        return self.camera.record(canvas, number, snapshot.light).astype(int)

    def changed(self, number: int, person: int) -> np.ndarray:
        """Where the person shows (x, y), (n, 2); the camera keeps its grain from frame to frame."""
        difference = np.abs(self.frame(number, person) - self.frame(number, None)).max(axis=2)
        return np.argwhere(difference > 6)[:, ::-1]


@pytest.mark.parametrize("camera", [None, (0.94, (25.0, 5.0)), (1.3, (40.0, 6.0))])
def test_boxes_enclose_what_is_painted_of_people_tightly(
    camera: tuple[float, tuple[float, float]] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each person is painted alone: what differs from the empty room is compared with the box."""
    monkeypatch.setattr(Brush, "shadow", lambda *_: None)
    if camera is not None:
        monkeypatch.setattr(rendering, "draw_look", moving(*camera))
    inside, painted, slacks = 0, 0, []
    for plan in plans()[1:7]:
        boxes, stage = people_boxes(plan), Stage(plan)
        for number in range(0, frame_count(plan), 16):
            figures = stage.staging.at(number / FPS).figures
            for person, figure in enumerate(figures):
                box = boxes[person, number]
                if figure is None or np.isnan(box[0]):
                    continue
                spots = stage.changed(number, person)
                # Edges are smoothed over a pixel or two on each side.
                inside += int(((spots + 2 > box[:2]) & (spots - 1 < box[2:])).all(axis=1).sum())
                painted += len(spots)
                if figure.y > FRONT_Y:  # not behind furniture
                    slacks.append([*(spots.min(axis=0) - box[:2]), *(box[2:] - spots.max(axis=0) - 1)])
    slack = np.array(slacks)
    assert len(slack) > 100
    assert inside > 0.999 * painted
    assert slack.min() > -2.0  # pixels: nothing more than a smoothed edge sticks out
    assert np.all(np.median(slack, axis=0) < 0.5)
    assert np.all(np.percentile(slack, 95, axis=0) < 2.5)


def test_boxes_lie_inside_the_picture_in_order() -> None:
    for number in range(12):
        boxes = boxes_of(number)
        assert boxes.shape == (len(plans()[number].roles), frame_count(plans()[number]), 4)
        found = boxes[visible(boxes)]
        assert np.all(found[:, :2] >= 0)
        assert np.all(found[:, 2:] <= (FRAME_WIDTH, FRAME_HEIGHT))
        assert np.all(found[:, 2:] - found[:, :2] > 1)
        assert np.isnan(boxes[~visible(boxes)]).all()


def test_somebody_behind_the_wall_has_the_box_that_the_doorway_shows() -> None:
    seen = 0
    for number, plan in enumerate(plans()):
        walks = [b for r in plan.roles for b in r.beats if b.label == "walk through door"]
        if not walks or seen > 20:
            continue
        stage, boxes = Stage(plan), boxes_of(number)
        for frame in range(int(walks[0].start * FPS), int(walks[0].end * FPS)):
            for person, figure in enumerate(stage.staging.at(frame / FPS).figures):
                if figure is not None and figure.behind_wall and visible(boxes[person, frame]):
                    left = stage.camera.view.corner(frame / FPS)[0]
                    scale = stage.camera.view.scale / 2
                    door = (plan.layout.door or 0.0) - left
                    assert boxes[person, frame, 0] >= (door - DOOR_WIDTH / 2) * scale - 0.5
                    assert boxes[person, frame, 2] <= (door + DOOR_WIDTH / 2) * scale + 0.5
                    seen += 1
    assert seen > 20


def test_who_comes_back_begins_another_tube() -> None:
    boxes = np.full((2, 9, 4), np.nan)
    boxes[0, :3] = boxes[0, 5:] = (0, 0, 9, 9)
    boxes[1, 2:4] = (5, 5, 8, 8)
    assert [(t.first, len(t.boxes), t.score) for t in tracks(boxes)] == [
        (1, 3, None),
        (3, 2, None),
        (6, 4, None),
    ]
    rejoined = [number for number in range(20) if len(tracks(boxes_of(number))) > len(plans()[number].roles)]
    assert len(rejoined) >= 4  # people do walk off and come back


def test_the_described_tube_is_the_moment_of_the_person_who_is_meant() -> None:
    for number, plan in enumerate(plans()[:40]):
        (moment,) = plan.moments
        track = described(plan, boxes_of(number))
        last = track.first + len(track.boxes) - 1
        times = np.arange(frame_count(plan)) / FPS
        expected = np.flatnonzero((times >= moment.start - 1e-9) & (times < moment.end - 1e-9)) + 1
        assert expected[0] <= track.first <= last <= expected[-1]
        if moment.label == "walk through door":  # the end of the way is behind the wall
            assert len(track.boxes) >= 0.5 * len(expected)
        else:
            assert (track.first, last) == (expected[0], expected[-1])
        assert np.array_equal(track.boxes, boxes_of(number)[plan.who, track.first - 1 : last])
    with pytest.raises(ValueError, match="whose the moment is"):
        described(make_plan(0, "train", 0), boxes_of(0))


# ---- what a detector would give --------------------------------------------------------------------------


@cache
def detections() -> tuple[tuple[int, list], ...]:
    return tuple((number, detect(boxes_of(number), np.random.default_rng(number))) for number in range(20))


def test_detected_boxes_are_off_by_a_few_pixels_that_change_slowly() -> None:
    errors, correlations = [], []
    for number, found in detections():
        for track in found:
            part = slice(track.first - 1, track.first - 1 + len(track.boxes))
            overlaps = np.stack([iou(track.boxes, person[part]) for person in boxes_of(number)])
            if len(track.boxes) >= 30 and overlaps.mean(axis=1).max() > 0.6:
                error = track.boxes - boxes_of(number)[overlaps.mean(axis=1).argmax(), part]
                error = error[~np.isnan(error[:, 0])]
                errors.append(np.median(np.abs(error)))
                correlations.append(np.corrcoef(error[1:, 0], error[:-1, 0])[0, 1])
    assert 0.5 < np.mean(errors) < 3.0
    assert np.mean(correlations) > 0.6


def test_people_are_missed_now_and_then_tubes_break_and_some_are_false() -> None:
    missed, pieces, people, false, scores, false_scores = [], 0, 0, 0, [], []
    for number, found in detections():
        boxes = boxes_of(number)
        hit = np.zeros(boxes.shape[:2], bool)
        for track in found:
            part = slice(track.first - 1, track.first - 1 + len(track.boxes))
            overlaps = np.stack([iou(track.boxes, person[part]) for person in boxes])
            hit[:, part] |= overlaps > 0.4
            real = overlaps.max(axis=0).mean() > 0.3
            (scores if real else false_scores).append(track.score)
            pieces, false = pieces + real, false + (not real)
        missed.append(1 - hit[visible(boxes)].mean())
        people += len(tracks(boxes))
    assert 0.02 < np.mean(missed) < 0.15
    assert 1.5 * people < pieces < 6 * people
    assert 5 <= false <= 50
    assert np.mean(scores) > np.mean(false_scores) + 0.2
    assert all(0 < score < 1 for score in scores + false_scores)


def walkers(distance: float) -> np.ndarray:
    """Two people (2, 200, 4) who walk past each other, so far from each other in depth that nobody is hidden."""
    x = np.linspace(20, 180, 200)
    boxes = np.zeros((2, 200, 4))
    boxes[0] = np.stack([x, np.full(200, 40.0), x + 24, np.full(200, 120.0)], axis=1)
    boxes[1] = np.stack(
        [x[::-1], np.full(200, 40.0 + distance), x[::-1] + 24, np.full(200, 120.0 + distance)], 1
    )
    return boxes


@pytest.mark.parametrize(("distance", "least", "most"), [(30.0, 0.1, 0.45), (90.0, 0.0, 0.0)])
def test_identities_are_swapped_only_where_people_come_near(
    distance: float, least: float, most: float
) -> None:
    boxes, swapped, whole = walkers(distance), 0, 0
    for seed in range(150):
        for track in detect(boxes, np.random.default_rng(seed)):
            first, last = track.first - 1, track.first + len(track.boxes) - 2
            if first < 80 and last > 120:
                ends = [iou(track.boxes[k], boxes[:, f]) for k, f in ((0, first), (-1, last))]
                swapped += ends[0].argmax() != ends[1].argmax()
                whole += 1
    assert whole > 60
    assert least <= swapped / whole <= most


def test_after_a_swap_the_next_one_is_between_those_who_meet() -> None:
    """Someone walks from one to another who never meet; no tube goes from the one to the other directly."""
    middle = np.concatenate([np.linspace(100, 24, 50), np.linspace(24, 176, 100), np.linspace(176, 100, 50)])
    boxes = np.zeros((3, 200, 4))
    for person, x in enumerate((np.full(200, 10.0), middle, np.full(200, 190.0))):
        top = np.full(200, 40.0 + 25 * person)
        boxes[person] = np.stack([x, top, x + 24, top + 80], axis=1)
    changes = Counter()
    for seed in range(200):
        for track in detect(boxes, np.random.default_rng(seed)):
            overlaps = iou(track.boxes, boxes[:, track.first - 1 : track.first - 1 + len(track.boxes)])
            people = overlaps.argmax(axis=0)[overlaps.max(axis=0) > 0.6]
            changes.update((int(a), int(b)) for a, b in pairwise(people) if a != b)
    assert min(changes[0, 1], changes[1, 0], changes[1, 2], changes[2, 1]) > 10
    assert not changes[0, 2]
    assert not changes[2, 0]


def test_short_gaps_are_filled_or_break_the_tube() -> None:
    still = np.tile([10.0, 10.0, 210.0, 160.0], (1, 300, 1))  # larger than any false tube
    counts = Counter()
    for seed in range(30):
        found = [t for t in detect(still, np.random.default_rng(seed)) if iou(t.boxes[0], still[0, 0]) > 0.5]
        assert all(len(track.boxes) >= 3 for track in found)
        gaps = [b.first - a.first - len(a.boxes) for a, b in pairwise(found)]
        assert all(gap >= 1 for gap in gaps)
        counts.update("short" if gap <= 5 else "long" for gap in gaps)
    assert counts["short"] > 20
    assert counts["long"] > 10


def test_runs() -> None:
    assert list(runs(np.array([True, True, False, True]))) == [(0, 2), (3, 4)]
    assert list(runs(np.zeros(3, bool))) == []


# ---- files -----------------------------------------------------------------------------------------------


def check_tubes(entry: dict) -> None:
    assert entry.keys() == {"width", "height", "rate", "frames", "tubes"}
    assert (entry["width"], entry["height"], entry["rate"]) == (FRAME_WIDTH, FRAME_HEIGHT, 10.0)
    assert entry["tubes"]
    for tube in entry["tubes"]:
        boxes = np.array(tube["boxes"])
        assert boxes.shape[1:] == (4,)
        assert tube["first"] >= 1
        assert tube["first"] + len(boxes) - 1 <= entry["frames"]
        assert np.all(boxes[:, 2:] > boxes[:, :2])
        assert np.all((boxes >= 0) & (boxes <= (FRAME_WIDTH, FRAME_HEIGHT) * 2))


def test_a_world_of_people_from_the_command_line(command: Command, tmp_path: Path) -> None:
    world = tmp_path / "world"
    says = command.ok("playhouse", world, "--people", "--train", 2, "--val", 1, "--test", 0, "--workers", 1)
    assert "detected.json" in says.output
    kinds = ("", "-boxes", "-detected", "-every")
    names = [f"{split}{kind}.json" for split in ("train", "val", "test") for kind in kinds]
    assert {path.name for path in world.glob("*.json")} == {*names, "opposites.json", "playhouse.json"}
    truths, boxes, detected = (json.loads((world / name).read_text()) for name in names[:3])
    assert list(truths) == ["train_00000.mp4", "train_00001.mp4"]
    for name, truth in truths.items():
        assert (world / "train" / name).is_file()
        assert len(truth["bbox"]) == truth["ed_frame"] - truth["st_frame"] + 1
        assert truth["img_size"] == [FRAME_HEIGHT, FRAME_WIDTH]
        assert truth["img_num"] == boxes[name[:-4]]["frames"]
        x, y, w, h = np.array(truth["bbox"]).T
        described = np.stack([x, y, x + w, y + h], axis=1)
        true = [  # the moment lies in a true tube, box for box
            np.array(t["boxes"])[truth["st_frame"] - t["first"] :][: len(described)]
            for t in boxes[name[:-4]]["tubes"]
            if t["first"] <= truth["st_frame"] and truth["ed_frame"] < t["first"] + len(t["boxes"])
        ]
        assert any(np.allclose(part, described) for part in true)
    for entry in (*boxes.values(), *detected.values()):
        check_tubes(entry)
    assert all("score" not in t for entry in boxes.values() for t in entry["tubes"])
    assert all(0 < t["score"] < 1 for entry in detected.values() for t in entry["tubes"])
    every = read_truths(world / "train-every.json").videos
    for meant in read_truths(world / "train.json").videos:
        about = {one.sentence: one for one in every if one.video_id == meant.video_id}
        assert len(about) > 2
        assert torch.equal(about[meant.sentence].tube.frames, meant.tube.frames)
        assert torch.allclose(about[meant.sentence].tube.boxes, meant.tube.boxes)
        assert {one.stated for one in about.values()} == {meant.stated}
    command.fails("playhouse", world, "--train", 2, says="holds another playhouse")
    again = tmp_path / "again"
    make_playhouse(again, counts={"train": 2}, people=True, workers=2)
    for name in (*names[:4], "train/train_00001.mp4"):
        assert (again / name).read_bytes() == (world / name).read_bytes()


def test_the_usual_world_and_that_of_people_are_not_mixed(tmp_path: Path) -> None:
    make_playhouse(tmp_path / "usual", counts={"train": 0})
    with pytest.raises(OutputError, match="another playhouse"):
        make_playhouse(tmp_path / "usual", counts={"train": 0}, people=True)


def test_entries_are_those_of_the_plan_again_and_again() -> None:
    plan = plans()[3]
    assert people_entries(plan) == people_entries(plan)
    assert people_entries(plan).detected != people_entries(make_people_plan(1, "train", 3)).detected
