"""The programs of docs/training.md that read what annotation tools export, on small exports in each tool's form."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command
from mmn_index.train.settings import load_setting

from mmn_index.evaluation.annotations import read_annotations

PAGE = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
ELAN = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-11-27T12:00:00+01:00" FORMAT="3.0" VERSION="3.0">
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
    <MEDIA_DESCRIPTOR MEDIA_URL="file:///videos/porch/cam1.mp4" MIME_TYPE="video/mp4"/>
  </HEADER>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="2400"/>
    <TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="8100"/>
    <TIME_SLOT TIME_SLOT_ID="ts3"/>
  </TIME_ORDER>
  <TIER TIER_ID="moments" LINGUISTIC_TYPE_REF="default-lt">
    <ANNOTATION>
      <ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
        <ANNOTATION_VALUE>a dog jumps</ANNOTATION_VALUE>
      </ALIGNABLE_ANNOTATION>
    </ANNOTATION>
  </TIER>
</ANNOTATION_DOCUMENT>"""
CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
  <meta><task><size>500</size><mode>interpolation</mode></task></meta>
  <track id="0" label="jump" source="manual">
    <box frame="60" keyframe="1" outside="0" occluded="0" xtl="0" ytl="0" xbr="9" ybr="9" z_order="0">
      <attribute name="sentence">a dog jumps</attribute>
    </box>
    <box frame="201" keyframe="0" outside="0" occluded="0" xtl="0" ytl="0" xbr="9" ybr="9" z_order="0">
      <attribute name="sentence">a dog jumps</attribute>
    </box>
    <box frame="202" keyframe="1" outside="1" occluded="0" xtl="0" ytl="0" xbr="9" ybr="9" z_order="0"/>
  </track>
</annotations>"""
SPAN = {"ranges": [{"start": 61, "end": 202}]}
LABEL_STUDIO = [
    {
        "id": 1,
        "data": {"video": "/data/upload/1/1a2b3c4d-cam1.mp4"},
        "annotations": [
            {
                "id": 1,
                "result": [
                    {
                        "id": "x1",
                        "type": "timelinelabels",
                        "from_name": "labels",
                        "to_name": "video",
                        "value": {**SPAN, "timelinelabels": ["jump"]},
                    },
                    {"id": "x1", "type": "textarea", "value": {**SPAN, "text": ["a dog jumps"]}},
                    {
                        "id": "x2",
                        "type": "timelinelabels",
                        "value": {"ranges": [{"start": 1, "end": 24}], "timelinelabels": ["a cat sits"]},
                    },
                ],
            }
        ],
    }
]
VIA = {
    "project": {"pid": "__VIA_PROJECT_ID__", "data_format_version": "3.1.1", "vid_list": ["1"]},
    "attribute": {"1": {"aname": "TEMPORAL-SEGMENTS", "anchor_id": "FILE1_Z2_XY0", "type": 4}},
    "file": {"1": {"fid": 1, "fname": "porch/cam1.mp4", "type": 4, "loc": 1, "src": ""}},
    "metadata": {
        "1_aaaa": {"vid": "1", "flg": 0, "z": [2.4, 8.1], "xy": [], "av": {"1": "a dog jumps"}},
        "1_bbbb": {"vid": "1", "flg": 0, "z": [3.0], "xy": [2, 0, 0, 9, 9], "av": {"2": "a dog"}},
    },
    "view": {"1": {"fid_list": ["1"]}},
}
# By a word of the program: where its export lies, the export, and what it says.
TOOLS = {
    "eaf": ("porch/cam1.eaf", ELAN, ["porch/cam1 2.4 8.1##a dog jumps"]),
    "track": ("porch/cam1.xml", CVAT, ["porch/cam1 2.4 8.08##a dog jumps"]),
    "timelinelabels": (
        "project.json",
        json.dumps(LABEL_STUDIO),
        [f"cam1 2.5 {202 / 24}##a dog jumps", "cam1 0.0 1.0##a cat sits"],
    ),
    "fid_list": ("project.json", json.dumps(VIA), ["porch/cam1 2.4 8.1##a dog jumps"]),
    "DictReader": (
        "moments.csv",
        'video,start,end,sentence\nporch/cam1,2.4,8.1,"a dog jumps, twice"\n',
        ["porch/cam1 2.4 8.1##a dog jumps, twice"],
    ),
}


def run(word: str, folder: Path) -> None:
    """The program of the page that has a word in it, in a folder."""
    (program,) = (one for one in re.findall(r"```python\n(.*?)```", PAGE, re.S) if word in one)
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True)


@pytest.mark.parametrize("word", list(TOOLS))
def test_an_export_becomes_a_list_that_is_read(word: str, tmp_path: Path) -> None:
    name, export, expected = TOOLS[word]
    path = tmp_path / "exports" / name
    path.parent.mkdir(parents=True)
    path.write_text(export)
    run(word, tmp_path)
    assert (tmp_path / "moments.txt").read_text().splitlines() == expected
    found = read_annotations(tmp_path / "moments.txt", lambda _: 30.0)
    assert found.num_sentences == len(expected)
    assert not found.dropped


def test_whole_videos_are_put_aside_and_what_is_left_trains(
    world: Path, command: Command, tmp_path: Path
) -> None:
    setting = next(one for one in re.findall(r"```yaml\n(.*?)```", PAGE, re.S) if "epochs: 40" in one)
    (tmp_path / "mine.yaml").write_text(setting)
    load_setting(str(tmp_path / "mine.yaml"))
    lines = [
        f"v{number} {start} {start + 6}##a person opens the door"
        for number in (0, 1, 2, 3, 4, 5)
        for start in (1, 9)
    ]
    more = [f"w{number} 0 1##a person sits down" for number in range(60)]
    (tmp_path / "moments.txt").write_text("\n".join(lines + more))
    run("hashlib", tmp_path)
    parts = [(tmp_path / f"{name}.txt").read_text().splitlines() for name in ("train", "val")]
    assert sorted(parts[0] + parts[1]) == sorted(lines + more)
    videos = [{line.split()[0] for line in part} for part in parts]
    assert not videos[0] & videos[1]
    assert 2 <= len(videos[1]) <= 15
    (tmp_path / "list.txt").write_text("\n".join(lines))
    features = world / "features.h5"
    command.ok(
        *("train", "--annotations", tmp_path / "list.txt", "--val", tmp_path / "list.txt"),
        *("--features", features, "--config", world / "tiny.yaml", "-o", tmp_path / "run"),
    )
    for asked in (world / "collection.mmn", tmp_path / "run" / "model"):
        given = () if asked.suffix else ("--features", features)
        command.ok("eval", asked, *given, "--annotations", tmp_path / "list.txt")
