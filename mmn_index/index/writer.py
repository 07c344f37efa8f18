"""The only way to change an index: one writer at a time, and every change published by one rename of the
manifest.

What a manifest does not name does not belong to the index: a segment that is being written, or what a killed
process left. The next change removes it, but for a segment of the same plan, which is taken up where it
stopped.

The lock is held on the index directory itself (flock): the kernel drops it when the process ends, however it
ends, so no lock is ever stale. NFS locks no directory: there it is held on a file inside. Over network file
systems it holds as far as they support locks.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from ..checkpoint import share
from ..encoder_lookup import ENCODER
from ..errors import BusyError, MomentIndexError, OutputError
from ..proposals import ProposalGrid
from ..readable import reason
from .manifest import NAME, Manifest, SegmentEntry, read_manifest, sync_folder
from .segment_files import PROGRESS, VECTORS, digest, on_disk
from .segment_writer import PlannedVideo, SegmentWriter

_LOCK = "lock"  # what is locked in place of a directory


class IndexWriter:
    """Holds an index for writing; a context manager.

    An error inside removes what was being written; a killed or interrupted process leaves it to be taken up.

    Args:
        root: the index directory; made if it is not there.
        anew: an index that is there will be replaced, so it may be damaged, or of another format.

    Raises:
        OutputError: something else is there, or the disk refuses. What was there before is kept.
        BusyError: another process writes.
        MomentIndexError: the index that is there is damaged.
    """

    def __init__(self, root: Path, *, anew: bool = False) -> None:
        self.root, self._anew = root, anew
        self.manifest: Manifest | None = None
        self._made = False
        self._handle = -1
        self._begun: list[Path] = []  # segments of this writer

    def __enter__(self) -> "IndexWriter":
        root = self.root
        check_ours(root)
        try:
            self._made = not root.exists()
            (root / "segments").mkdir(parents=True, exist_ok=True)
            self._handle = lock(root)
            self.manifest = self._read()
        except BlockingIOError:
            self._release()
            raise BusyError(
                f"{root}: another process is writing to this index. Try again when it has finished."
            ) from None
        except OSError as error:
            self._release()
            raise self._refused(error) from error
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(value, Exception):
                self._undo()
        finally:
            self._release()
        if isinstance(value, OSError):
            raise self._refused(value) from value

    def segment(
        self,
        grid: ProposalGrid,
        joint_dim: int,
        videos: Sequence[PlannedVideo],
        source: str,
        metadata: pa.Table | None = None,
        *,
        spaces: int = 2,
    ) -> SegmentWriter:
        """Begin a segment, or take up the one of the same plan that a killed process left.

        Args:
            source: says where the embeddings come from; another one makes it another plan.
            metadata: columns of the user's, a row a video.
            spaces: joint spaces of the model.
        """
        # The version is part of the plan: a folder that the manifest names is never written to again.
        version = self.manifest.version if self.manifest else 0
        plan = json.dumps(
            [
                version,
                source,
                grid.num_clips,
                grid.pooling_counts,
                joint_dim,
                spaces,
                [[v.video_id, v.duration, v.windows, *map(astuple, v.tubes)] for v in videos],
            ]
        )
        folder = self.root / "segments" / hashlib.sha256(plan.encode()).hexdigest()[:16]
        self._begun.append(folder)
        return SegmentWriter(folder, grid, joint_dim, videos, metadata, spaces=spaces)

    def adopt(self, folder: Path, entry: SegmentEntry, codes: Path | None = None) -> SegmentEntry:
        """Take over a complete segment that lies elsewhere. Its files stay there, under both names where the
        file system allows it, so that nothing is lost before it is published.

        Args:
            codes: its candidate index, where that is not among its files.
        """
        name = adopted_name(self.manifest.version if self.manifest else 0, entry)
        target = self.root / "segments" / name
        self._begun.append(target)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        files = {file: (folder / file, about) for file, about in entry.files.items()}
        if codes is not None:
            files[VECTORS] = codes, on_disk(codes)
        for file, (place, _) in files.items():
            share(place, target / file)
            with (target / file).open("rb") as handle:
                os.fsync(handle.fileno())
        sync_folder(target)
        return replace(entry, id=name, files={file: about for file, (_, about) in files.items()})

    def publish(
        self, manifest: Manifest, model: Path | None = None, encoder: Callable[[Path], None] | None = None
    ) -> Manifest:
        """Make a manifest the index's, with the next version, and remove what it does not name.

        Args:
            model: the checkpoint directory to keep a copy of, where the index has none of this fingerprint.
            encoder: writes the file of the model's text encoder, which the checkpoint directory has not.
        """
        before = self.manifest
        manifest = replace(manifest, version=before.version + 1 if before else 1)
        if before is not None and manifest.shard == before.shard:
            manifest = replace(
                manifest, shard=None
            )  # what was changed does not fit the other shards any more
        if model is not None:
            manifest = replace(manifest, model_files=self._keep_model(manifest, model, encoder))
        sync_folder(self.root / "segments")
        manifest.write(self.root)
        self.manifest = manifest
        self._sweep(manifest, (self.root / "segments").iterdir())
        return manifest

    def _keep_model(
        self, manifest: Manifest, model: Path, encoder: Callable[[Path], None] | None
    ) -> Mapping[str, tuple[int, str]]:
        """The files of the model's copy: what is named already and undamaged stays as it is."""
        folder = self.root / manifest.model_folder
        files, known = _files(folder), self.manifest.model_files if self.manifest else {}
        if not known or any(files.get(name) != about for name, about in known.items()):
            _copy_model(model, folder, encoder)
            return _files(folder)
        kept = {name: about for name, about in known.items() if name != ENCODER}
        if encoder is None and not (model / ENCODER).is_file():
            return kept  # and the file goes, if there is one, once no manifest names it
        if ENCODER not in known:
            aside = self.root / f"{manifest.model_folder}.encoder"
            _write_encoder(model, aside, encoder)
            aside.replace(folder / ENCODER)
            sync_folder(folder)
        return {**kept, ENCODER: _files(folder)[ENCODER]}

    def _read(self) -> Manifest | None:
        """The manifest that is there; None where there is none, or an unreadable one that may be replaced."""
        try:
            return read_manifest(self.root) if (self.root / NAME).exists() else None
        except MomentIndexError:
            if not self._anew:
                raise
            return None

    def _undo(self) -> None:
        # What is there now counts: an error may come after the rename. What others left to be taken up stays.
        manifest = self._read()
        if manifest is None and (self.root / NAME).exists():
            for folder in self._begun:
                shutil.rmtree(folder, ignore_errors=True)
            return
        if manifest is None and self._made:
            shutil.rmtree(self.root, ignore_errors=True)
        else:
            self._sweep(manifest, self._begun)

    def _sweep(self, manifest: Manifest | None, segments: Iterable[Path]) -> None:
        """Remove those of some segments, and everything beside segments, that a manifest does not name."""
        keep = {entry.id for entry in manifest.segments} if manifest else set()
        for folder in segments:
            if folder.name not in keep:
                shutil.rmtree(folder, ignore_errors=True)
        for folder in self.root.glob("model-*"):
            if manifest is None or folder.name != manifest.model_folder:
                _remove(folder)
                continue
            for path in folder.iterdir():
                if path.name not in manifest.model_files:
                    _remove(path)
        for path in self.root.glob("bank*"):
            if manifest is None or manifest.bank is None or path.name != manifest.bank.file:
                path.unlink()
        (self.root / f"{NAME}.tmp").unlink(missing_ok=True)
        for name in keep:
            for path in (self.root / "segments" / name).glob(f"{PROGRESS}*"):
                path.unlink(missing_ok=True)

    def _release(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _refused(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self.root}: the index cannot be written ({reason(error)}). What was there before is kept."
        )


def lock(root: Path) -> int:
    """Lock an index for this process, until the handle is closed.

    Raises:
        BlockingIOError: another process has it.
        OSError: it is not there, or cannot be locked.
    """
    try:
        return _locked(root, os.O_RDONLY)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
    return _locked(root / _LOCK, os.O_RDWR | os.O_CREAT)


def is_held(root: Path) -> bool:
    """Whether another process writes to an index, or makes one at this place, now."""
    try:
        os.close(lock(root))
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _locked(path: Path, flags: int) -> int:
    handle = os.open(path, flags, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(handle), os.stat(path)):  # a failed build removed it meanwhile
            raise BlockingIOError
    except BaseException:
        os.close(handle)
        raise
    return handle


def adopted_name(version: int, entry: SegmentEntry) -> str:
    """What a segment from elsewhere is called in an index of some version."""
    return hashlib.sha256(f"{version} {entry.id}".encode()).hexdigest()[:16]


def check_ours(root: Path) -> None:
    """Make sure that a place holds an index, what a killed build left, or nothing.

    Raises:
        OutputError: it holds something else.
    """
    ours = not root.exists() or (
        root.is_dir()
        and (
            (root / NAME).is_file()
            or all(
                x.name in ("segments", f"{NAME}.tmp", _LOCK) or x.name.startswith(("model-", "bank"))
                for x in root.iterdir()
            )
        )
    )
    if not ours:
        raise OutputError(f"{root}: exists and is no index; it is left alone. Choose another place with -o.")


def _files(folder: Path) -> dict[str, tuple[int, str]]:
    return (
        {path.name: (path.stat().st_size, digest(path)) for path in sorted(folder.iterdir())}
        if folder.exists()
        else {}
    )


def _copy_model(model: Path, target: Path, encoder: Callable[[Path], None] | None) -> None:
    aside = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for path in sorted(path for path in model.iterdir() if path.is_file() and path.name != ENCODER):
        with Path(shutil.copy(path, aside)).open("rb") as file:
            os.fsync(file.fileno())
    if encoder is not None or (model / ENCODER).is_file():
        _write_encoder(model, aside / ENCODER, encoder)
    sync_folder(aside)
    shutil.rmtree(target, ignore_errors=True)
    aside.replace(target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _write_encoder(model: Path, path: Path, encoder: Callable[[Path], None] | None) -> None:
    """The file of a text encoder: the checkpoint's own under another name, else a new one."""
    path.unlink(missing_ok=True)
    if (model / ENCODER).is_file():
        share(model / ENCODER, path)
    elif encoder is not None:
        encoder(path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
