"""manifest.json: which segments, model, grid and score make up an index."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..confidence import Calibration
from ..errors import ConfigError, MomentIndexError, QueryError
from ..proposals import ProposalGrid
from ..readable import reason, typed
from ..scoring import HUB_SCORES, Score
from ..windows import WindowRule
from .fields import count, made

FORMAT = 4
NAME = "manifest.json"
_PLAIN = (
    "version",
    "fingerprint",
    "features",
    "joint_dim",
    "spaces",
    "longest",
    "tubes",
)  # fields that JSON takes as they are
_WIDEST = 1 << 16  # numbers of an embedding
_MOST_PROBES = 1 << 31  # lists of an index that FAISS can count
# What reading one that is damaged may raise.
DAMAGE = (
    ValueError,
    OverflowError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    ConfigError,
    QueryError,
)


@dataclass(frozen=True)
class CandidateAbout:
    """What a segment's candidate index is, and how well it finds."""

    factory: str  # FAISS's name of it
    nprobe: int = 1  # lists that a query visits
    depth: int = 512  # candidates that it asks for, for ten moments
    # share of the exact top 10 that it finds, measured when it was made; None before that
    recall: float | None = None
    noise: str = ""  # which queries the recall was measured with
    # both cosines, the first less its hub correction, where the first tangent plane of a query touches the
    # score; None in indexes that were built before there was one
    point: tuple[float, float] | None = None
    # SHA-256 of its centres and codebooks: segments that share them can be merged; None in older indexes
    trained: str | None = None


@dataclass(frozen=True)
class BankAbout:
    """The sentences that moments were measured against, and how (negatives.py)."""

    kind: str  # one of negatives.KINDS
    neighbours: int  # of csls
    sentences: int
    file: str  # in the index's folder
    bytes: int
    sha256: str


@dataclass(frozen=True)
class SegmentEntry:
    """One immutable segment, and which of its videos still belong to the index."""

    id: str
    videos: int
    moments: int
    files: Mapping[str, tuple[int, str]]  # name -> (bytes, SHA-256)
    candidates: CandidateAbout | None = None  # None: scanned exactly
    removed: tuple[int, ...] = ()  # rows of videos.parquet, ascending
    reason: str = ""  # why it is scanned, or has this candidate index


@dataclass(frozen=True)
class ShardAbout:
    """Which part of a larger index this one is (build --shard), until the parts are published together."""

    number: int  # from 1
    of: int
    made_from: Mapping[str, str]  # what all parts must have in common: its name -> a digest


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json."""

    fingerprint: str  # of the model that made all embeddings
    features: str | None  # backbone of the features, where known
    joint_dim: int  # C
    grid: ProposalGrid  # of every window
    score: Score  # the index's default
    segments: tuple[SegmentEntry, ...]
    model_files: Mapping[str, tuple[int, str]] = field(default_factory=dict)  # name -> (bytes, SHA-256)
    version: int = 0  # rises with every change
    bank: BankAbout | None = None  # None: no segment has hubs.npy
    calibration: Calibration | None = None  # of the default score's hits; None: they have no confidence
    spaces: int = 2  # joint spaces of the model: 1 is the contrastive one alone
    longest: float = 1.0  # length that no moment's embedding exceeds
    windows: WindowRule | None = None  # how videos are cut that are added; None: as the model asks for
    rate: float | None = None  # snippets a second of the features, where known
    tubes: bool = False  # each window is a tube of its video
    shard: ShardAbout | None = None  # None: a whole index

    @property
    def width(self) -> int:
        """Numbers of a stored vector."""
        return self.spaces * self.joint_dim

    @property
    def model_folder(self) -> str:
        """Folder of the model's copy inside the index."""
        return f"model-{self.fingerprint[:16]}"

    @property
    def files(self) -> dict[str, tuple[int, str]]:
        """The index's other files: bytes and SHA-256 by their paths in its folder."""
        found = {f"{self.model_folder}/{name}": about for name, about in self.model_files.items()}
        if self.bank is not None:
            found[self.bank.file] = self.bank.bytes, self.bank.sha256
        for entry in self.segments:
            found |= {f"segments/{entry.id}/{name}": about for name, about in entry.files.items()}
        return found

    def with_score(self, name: str | None = None, hub: float | None = None) -> Score:
        """The index's default score, or another one with its parameters; its own hub correction where that
        score knows it.

        Raises:
            QueryError: no such score, or a hub correction that it does not know.
        """
        name = self.score.name if name is None else name
        default = self.score.hub if name in HUB_SCORES else 0.0
        return replace(self.score, name=name, hub=default if hub is None else hub)

    def write(self, root: Path) -> None:
        """Replace the manifest in one rename, after its content has reached the disk."""
        content = {
            "format": FORMAT,
            **{key: getattr(self, key) for key in _PLAIN},
            "grid": {"num_clips": self.grid.num_clips, "pooling_counts": list(self.grid.pooling_counts)},
            "score": asdict(self.score),
            "windows": asdict(self.windows) if self.windows else None,
            "rate": self.rate,
            "model_files": dict(self.model_files),
            "bank": asdict(self.bank) if self.bank else None,
            "calibration": asdict(self.calibration) if self.calibration else None,
            "segments": [asdict(entry) for entry in self.segments],
            **({"shard": asdict(self.shard)} if self.shard else {}),
        }
        aside = root / f"{NAME}.tmp"
        with aside.open("w", encoding="utf-8") as file:
            json.dump({**content, "checksum": _checksum(content)}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(root / NAME)
        sync_folder(root)


def read_manifest(root: Path) -> Manifest:
    """Read the manifest of an index.

    Raises:
        MomentIndexError: no index is there, or its manifest is damaged or of another format.
    """
    content = read_content(root)
    if content["format"] != FORMAT:
        raise MomentIndexError(
            f"{root / NAME}: has format {content['format']}, of an earlier version. "
            f"`mmn-index upgrade {typed(root)}` brings the index to format {FORMAT}."
        )
    return parse(root, content)


def read_content(root: Path) -> dict[str, Any]:
    """What the manifest of an index of this format or an earlier one says, as it stands there.

    Raises:
        MomentIndexError: no index is there, or its manifest is damaged or of a later format.
    """
    path = root / NAME
    if not path.is_file():
        what = "is no moment index (it has no manifest.json)" if root.exists() else "does not exist"
        raise MomentIndexError(
            f"{root}: {what}. `mmn-index build` makes an index; name it with --index or MMN_INDEX (`serve` "
            "and `push`: as the argument)."
        )
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = content["format"]
        if type(found) is not int or found < 1:
            raise ValueError(f"format {found!r}")
        if found > FORMAT:
            raise MomentIndexError(
                f"{path}: has format {found}, made by a later version; this one knows format {FORMAT} and "
                "earlier ones. Update mmn-index."
            )
        if found > 1 and content.pop("checksum") != _checksum(content):
            raise ValueError("its checksum does not fit its content")
        return content
    except DAMAGE as error:
        raise manifest_damaged(root, error) from error


def parse(root: Path, content: Mapping[str, Any]) -> Manifest:
    """The manifest of an index out of what stands there, in this format.

    Raises:
        MomentIndexError: it is damaged.
    """
    try:
        return Manifest(
            _folder_name(content["fingerprint"]),
            None if content["features"] is None else str(content["features"]),
            count(content["joint_dim"], _WIDEST),
            ProposalGrid(
                count(content["grid"]["num_clips"]),
                tuple(count(n) for n in content["grid"]["pooling_counts"]),
            ),
            made(Score, content["score"]),
            tuple(_entry(entry) for entry in content["segments"]),
            _files(content["model_files"]),
            count(content["version"]),
            _bank(content["bank"]),
            None if content["calibration"] is None else made(Calibration, content["calibration"]),
            _spaces(content["spaces"]),
            _longest(content["longest"]),
            # The first manifests of this format have none of these.
            None if content.get("windows") is None else made(WindowRule, content["windows"]),
            None if content.get("rate") is None else float(content["rate"]),
            bool(content.get("tubes", False)),
            _shard(content.get("shard")),
        )
    except DAMAGE as error:
        raise manifest_damaged(root, error) from error


def manifest_damaged(root: Path, why: Exception) -> MomentIndexError:
    """What is said of a manifest that cannot be used."""
    return MomentIndexError(f"{root / NAME}: is damaged ({reason(why)}). Build the index again.")


def sync_folder(path: Path) -> None:
    """Bring renames and new names in a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _entry(entry: Mapping[str, Any]) -> SegmentEntry:
    about = entry["candidates"]
    return SegmentEntry(
        _folder_name(entry["id"]),
        count(entry["videos"]),
        count(entry["moments"]),
        _files(entry["files"]),
        _candidates(about) if about is not None else None,
        tuple(count(row) for row in entry["removed"]),
        str(entry.get("reason", "")),
    )


def _candidates(about: Mapping[str, Any]) -> CandidateAbout:
    found = made(CandidateAbout, about)
    if not (1 <= found.nprobe <= _MOST_PROBES and found.depth >= 1):
        raise ValueError(f"{found.nprobe} lists and {found.depth} candidates of a query")
    return found


def _bank(about: Mapping[str, Any] | None) -> BankAbout | None:
    if about is None:
        return None
    found = made(BankAbout, about)
    _files({found.file: (found.bytes, found.sha256)})
    return found


def _shard(about: Mapping[str, Any] | None) -> ShardAbout | None:
    if about is None:
        return None
    number, of = count(about["number"]), count(about["of"])
    if not 1 <= number <= of:
        raise ValueError(f"shard {number} of {of}")
    return ShardAbout(number, of, {str(name): str(value) for name, value in about["made_from"].items()})


def _files(files: Mapping[str, Any]) -> dict[str, tuple[int, str]]:
    if any(Path(name).name != name or "\0" in name for name in files):
        raise ValueError(f"{list(files)} are no file names")
    return {str(name): (count(size), str(digest)) for name, (size, digest) in files.items()}


def _spaces(value: object) -> int:
    if value not in (1, 2):
        raise ValueError(f"{value!r} joint spaces, expected 1 or 2")
    return 1 if value == 1 else 2


def _longest(value: float) -> float:
    if not 0 < float(value) < math.inf:
        raise ValueError(f"embeddings of length {value!r}")
    return float(value)


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _folder_name(value: object) -> str:
    # It becomes a part of paths: a manifest from elsewhere must not reach outside the index.
    if not isinstance(value, str) or not value.isalnum():
        raise ValueError(f"{value!r} is no folder name")
    return value
