"""manifest.json: which segments, model and score make up an index."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..errors import MomentIndexError
from ..scoring import Score

FORMAT = 1
NAME = "manifest.json"


@dataclass(frozen=True)
class SegmentEntry:
    """One immutable segment."""

    id: str
    videos: int
    moments: int
    files: Mapping[str, tuple[int, str]]  # name -> (bytes, SHA-256)


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json."""

    fingerprint: str  # of the model that made all embeddings
    features: str | None  # backbone of the features, where known
    joint_dim: int  # C; a stored vector has 2 C numbers
    score: Score  # the index's default
    segments: tuple[SegmentEntry, ...]

    @property
    def model_folder(self) -> str:
        """Folder of the model's copy inside the index."""
        return f"model-{self.fingerprint[:16]}"

    def with_score(self, name: str) -> Score:
        """A score of another name with this index's parameters."""
        return replace(self.score, name=name)

    def write(self, root: Path) -> None:
        """Replace the manifest in one rename, after its content has reached the disk."""
        content = {"format": FORMAT, **asdict(self)}
        aside = root / f"{NAME}.tmp"
        with aside.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(root / NAME)


def read_manifest(root: Path) -> Manifest:
    """Read the manifest of an index.

    Raises:
        MomentIndexError: no index is there, or its manifest is damaged or of another format.
    """
    path = root / NAME
    if not path.is_file():
        what = "is no moment index (it has no manifest.json)" if root.exists() else "does not exist"
        raise MomentIndexError(f"{root}: {what}. `mmn-index build` makes an index; name it with --index or MMN_INDEX.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise MomentIndexError(f"{path}: has format {content['format']}, this version reads format {FORMAT}. Update mmn-index.")
        segments = tuple(
            SegmentEntry(
                _folder_name(entry["id"]), int(entry["videos"]), int(entry["moments"]),
                {str(name): (int(size), str(digest)) for name, (size, digest) in entry["files"].items()},
            )
            for entry in content["segments"]
        )  # fmt: skip
        return Manifest(
            _folder_name(content["fingerprint"]),
            content["features"],
            int(content["joint_dim"]),
            Score(**content["score"]),
            segments,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MomentIndexError(f"{path}: is damaged ({error!r}). Build the index again.") from error


def _folder_name(value: object) -> str:
    # It becomes a part of paths: a manifest from elsewhere must not reach outside the index.
    if not isinstance(value, str) or not value.isalnum():
        raise ValueError(f"{value!r} is no folder name")
    return value
