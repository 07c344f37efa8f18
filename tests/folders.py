"""Folders of small videos with an index, for the tests of `sync`."""

from pathlib import Path
from typing import Any

from mmn_index.index_build.build import build
from mmn_index.index_build.extract import extract
from mmn_index.index_build.source import Source
from test_extract import make_video

from mmn_index.features import FeatureFile
from mmn_index.index import MomentIndex


def films(folder: Path) -> Path:
    """Seven short videos to put into folders: 0.mp4 to 6.mp4."""
    for seed in range(7):
        make_video(folder / f"{seed}.mp4", seed, seconds=1 + 0.2 * seed)
    return folder


def indexed_folder(folder: Path, model: Path, root: Path) -> MomentIndex:
    """A new index of a folder, and its features beside it."""
    extract([folder], root.with_suffix(".h5"))
    with FeatureFile(root.with_suffix(".h5")) as features:
        build(model, Source(features), root)
    return MomentIndex(root)


def rows(index: MomentIndex) -> dict[str, dict[str, Any]]:
    """Columns, spans and embeddings of every video; the last bits depend on the videos embedded together."""
    table, found = index.videos.to_pylist(), {}
    for number in index.live.nonzero()[0].tolist():
        at = index.rows_of(number)
        row = {name: value for name, value in table[number].items() if name != "first_moment"}
        row["spans"] = index.spans(at).tolist()
        row["embeddings"] = [(x.numpy() * 50).round().tolist() for x in index.embeddings(at)]
        found[row["video_id"]] = row
    return found
