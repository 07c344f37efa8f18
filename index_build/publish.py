"""The parts of a build (shards.py) put together: one candidate index for all, one change of the index.

Nothing is moved before the index names it, and what was computed is kept beside the parts, so a killed run
loses nothing: run again, it resumes.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mmn_index.errors import BusyError, MomentIndexError
from mmn_index.index import CandidateAbout, IndexWriter, Manifest, MomentIndex, ShardAbout
from mmn_index.index.codes import Codebook, Moments
from mmn_index.index.manifest import NAME, read_manifest
from mmn_index.index.writer import adopted_name, lock
from mmn_index.left_out import LeftOut
from mmn_index.places import aside, beside
from mmn_index.readable import typed

from .build import there_already
from .candidates import Wish, choose, tune_together
from .shards import check_files, place_of, shards_of, shares_begun
from .share import Share
from .source import Report

# Fills the candidate indexes of some parts from a file of a codebook, and yields each as it is done.
Filler = Callable[[Path, Mapping[Share, Path]], Iterable[Share]]


@dataclass(frozen=True)
class PublishResult:
    """What was put together.

    Attributes:
        reason: why it is scanned, or has its candidate index.
        left_out: what the parts have left out.
    """

    root: Path
    segments: int
    videos: int
    moments: int
    reason: str
    left_out: tuple[LeftOut, ...] = ()


def publish(
    root: Path,
    wish: Wish | None = None,
    *,
    overwrite: bool = False,
    fill: Filler | None = None,
    report: Report = lambda done, total: None,
    also: Callable[[Path], None] = lambda gone: None,
) -> PublishResult:
    """Make one index of all parts of a build, and remove the parts.

    Args:
        wish: which candidate index, if any; it is trained once, on moments of all parts.
        overwrite: replace an index at `root`.
        fill: fills the candidate indexes; None does it here.
        report: called with (candidate indexes filled, in all).
        also: see `finished`.

    Raises:
        MomentIndexError: parts are missing, being written, damaged, or not of one build.
        ConfigError: no such candidate index.
        OutputError: there is an index already, or it cannot be written.
    """
    earlier = finished(root, also)
    if earlier is not None and not shards_of(root).exists():
        return earlier
    with held_parts(root) as parts, IndexWriter(root, anew=overwrite) as writer:
        left_out = _left_out(shards_of(root))
        manifest = writer.manifest
        if overwrite or manifest is None or not is_of(manifest, parts.values()):
            if manifest is not None and not overwrite:
                raise there_already(root)
            manifest = _published(writer, parts, wish or Wish(), fill or fill_here, report)
        shards_of(root).rename(gone := _gone(root))
        result = replace(_result(root, manifest), left_out=left_out)
    also(gone)
    _remove(gone)
    return result


def finished(root: Path, also: Callable[[Path], None] = lambda gone: None) -> PublishResult | None:
    """Remove the parts that an index has been made of, also where a run was killed meanwhile.

    Args:
        also: called with their folder before that, to remove what else belongs to them.

    Returns:
        What had been made; None where nothing was left to be removed, or the index is gone.
    """
    gone, result = _gone(root), None
    if not gone.exists():
        return None
    if (root / NAME).is_file():
        result = replace(_result(root, read_manifest(root)), left_out=_left_out(gone))
        also(gone)
    _remove(gone)
    return result


def _remove(folder: Path) -> None:
    shutil.rmtree(folder.resolve(), ignore_errors=True)
    if folder.is_symlink():  # the folder of the parts was made on another disk
        folder.unlink()


def _gone(root: Path) -> Path:
    """What the folder of the parts is called once the index has them all."""
    return beside(shards_of(root), ".done")


@contextmanager
def held_parts(root: Path) -> Iterator[dict[Share, Manifest]]:
    """All parts of a build by their numbers, and nobody else writes one meanwhile.

    Raises:
        MomentIndexError: parts are missing or not of one build.
        BusyError: one is being written.
    """
    folder = shards_of(root)
    shares = shares_begun(root)
    if not shares:
        raise MomentIndexError(
            f"{folder}: holds no shards, so there is nothing to publish. `mmn-index build ... -o "
            f"{typed(root)} --shard 1/N` makes the first of N.{perhaps_published(root)}"
        )
    with ExitStack() as held:
        for share in shares:
            try:
                held.callback(os.close, lock(place_of(root, share)))
            except BlockingIOError:
                raise BusyError(
                    f"{root}: shard {share} is still being written. Wait until it is complete."
                ) from None
        parts = {
            share: read_manifest(place_of(root, share))
            for share in shares
            if (place_of(root, share) / NAME).is_file()
        }
        check_parts(root, shares, parts)
        for share, manifest in parts.items():
            check_files(place_of(root, share), manifest)
        yield parts


def perhaps_published(root: Path) -> str:
    """What to add where there are no parts: a run that was killed at its very end leaves none."""
    return f" {root} is an index: an earlier run may have made it of them." if (root / NAME).is_file() else ""


def check_parts(root: Path, shares: Sequence[Share], parts: Mapping[Share, Manifest]) -> None:
    """Make sure that parts are all parts of one build.

    Args:
        shares: those that have been begun.
        parts: those that are complete.

    Raises:
        MomentIndexError: they are not.
    """
    of = shares[0].of
    lacking = [Share(number, of) for number in range(1, of + 1) if Share(number, of) not in parts]
    if lacking:
        new = [str(share) for share in lacking if share not in shares]
        begun = [str(share) for share in lacking if share in shares]
        states = (new, "not there"), (begun, "not complete")
        told = [f"{_listed(some)} {state}" for some, state in states if some]
        raise MomentIndexError(
            f"{root}: {len(parts)} of {of} shards are complete, {', '.join(told)}. Run the same `mmn-index "
            f"build` with --shard {lacking[0]}{' and the others' * (len(lacking) > 1)}, then publish again."
        )
    _check_alike(root, parts)


def _check_alike(root: Path, parts: Mapping[Share, Manifest]) -> None:
    first: tuple[Share, ShardAbout] | None = None
    for share, manifest in parts.items():
        about = manifest.shard
        if about is None or (about.number, about.of) != (share.number, share.of):
            raise MomentIndexError(
                f"{place_of(root, share)}: is no shard {share}: it was changed by another command, or moved. "
                f"Remove it, and build it again with --shard {share}."
            )
        first = first or (share, about)
        one, other = first[1].made_from, about.made_from
        differs = [name for name in {**one, **other} if one.get(name) != other.get(name)]
        if differs:
            raise MomentIndexError(
                f"{root}: shard {share} was not made from the same as shard {first[0]}: other "
                f"{' and other '.join(differs)}. Build the one that is not wanted again, with its --shard."
            )


def _listed(shares: Sequence[str]) -> str:
    more = f" and {len(shares) - 8:,} more" if len(shares) > 8 else ""
    return f"{', '.join(shares[:8])}{more} {'is' if len(shares) == 1 else 'are'}"


def is_of(manifest: Manifest, parts: Iterable[Manifest]) -> bool:
    """Whether an index is what these parts make: a run was killed after it had published them."""
    full = [part for part in parts if part.segments]
    entries = [entry for part in full for entry in part.segments]
    names = [adopted_name(manifest.version - 1, entry) for entry in entries]
    if not names or names != [entry.id for entry in manifest.segments]:
        return False
    # Of the same name may be what has other columns, another score or another bank.
    made, here = (
        replace(one, segments=(), shard=None, model_files={}, version=0) for one in (full[0], manifest)
    )
    pairs = zip(entries, manifest.segments, strict=True)
    return made == here and all(part.files.items() <= published.files.items() for part, published in pairs)


def _published(
    writer: IndexWriter, parts: Mapping[Share, Manifest], wish: Wish, fill: Filler, report: Report
) -> Manifest:
    root = writer.root
    full = {share: part for share, part in parts.items() if part.segments}
    if not full:
        raise MomentIndexError(f"{shards_of(root)}: no shard has a video, so there is nothing to publish.")
    base_share, base = next(iter(full.items()))
    base_place = place_of(root, base_share)
    # Opened as what they are: sizes and counts are compared.
    opened = {share: MomentIndex.of(place_of(root, share), part) for share, part in full.items()}
    moments = sum(part.segments[0].moments for part in full.values())
    factory, reason = choose(moments, base.width, wish, hubs=base.bank is not None)
    codes, about = dict[Share, Path](), None
    if factory is not None:
        codebook = _codebook(root, base, factory, opened)
        about = CandidateAbout(factory, trained=codebook.digest)
        codes = _filled(root, codebook, list(full), fill, report)
    del opened
    entries = []
    for share, part in full.items():
        (entry,) = part.segments
        folder = place_of(root, share) / "segments" / entry.id
        entries.append(
            replace(writer.adopt(folder, entry, codes.get(share)), candidates=about, reason=reason)
        )
    if base.bank is not None:
        shutil.copy(base_place / base.bank.file, root / base.bank.file)
    manifest = replace(base, shard=None, model_files={})
    manifest = replace(manifest, segments=tuple(tune_together(root, manifest, entries)))
    return writer.publish(manifest, base_place / base.model_folder)


def _codebook(
    root: Path, base: Manifest, factory: str, opened: Mapping[Share, MomentIndex]
) -> "StoredCodebook":
    """That of all parts; one that a killed run has trained is taken."""
    assert base.shard is not None
    names = [index.segments[0].entry.files for index in opened.values()]
    made_from = json.dumps([factory, base.shard.of, dict(base.shard.made_from), names], default=list)
    path = shards_of(root) / f"codebook-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}.faiss"
    if not path.is_file():
        with aside(path) as unfinished:
            Codebook.train(factory, [moments_of(index) for index in opened.values()]).write(unfinished)
    return StoredCodebook(path, Codebook.of(path).digest)


@dataclass(frozen=True)
class StoredCodebook:
    """A codebook in a file."""

    path: Path
    digest: str


def moments_of(part: MomentIndex) -> Moments:
    """What the candidate index of a part is filled with."""
    (segment,) = part.segments
    return Moments(segment.embeddings.numpy(), None if segment.hubs is None else segment.hubs.numpy())


def _filled(
    root: Path, codebook: StoredCodebook, shares: Sequence[Share], fill: Filler, report: Report
) -> dict[Share, Path]:
    """The files of the candidate indexes of all parts; those that a killed run has filled are taken."""
    names = {share: f"{share.name}.codes-{codebook.digest[:16]}.faiss" for share in shares}
    paths = {share: shards_of(root) / name for share, name in names.items()}
    todo = {share: path for share, path in paths.items() if not path.is_file()}
    report(len(paths) - len(todo), len(paths))
    for done, _ in enumerate(fill(codebook.path, todo), len(paths) - len(todo) + 1):
        report(done, len(paths))
    return paths


def fill_here(codebook: Path, todo: Mapping[Share, Path]) -> Iterator[Share]:
    """A Filler in this process."""
    work = partial(fill_one, Codebook.of(codebook))
    for share, path in todo.items():
        work(share, path)
        yield share


def fill_one(codebook: Codebook, share: Share, path: Path) -> None:
    """Fill the candidate index of one part.

    Args:
        path: the file to write, among the parts.
    """
    place = path.parent / f"{share.name}.mmn"
    with aside(path) as unfinished:
        codebook.fill(unfinished, moments_of(MomentIndex.of(place, read_manifest(place))))


def _left_out(folder: Path) -> tuple[LeftOut, ...]:
    """What the parts have left out, by the lists that their commands wrote."""
    lines: dict[str, None] = {}
    for path in sorted(folder.glob("*.left-out.txt")):
        lines |= dict.fromkeys(path.read_text(encoding="utf-8", errors="backslashreplace").splitlines())
    return tuple(LeftOut(line, line) for line in lines)


def _result(root: Path, manifest: Manifest) -> PublishResult:
    index = MomentIndex.of(root, manifest)
    reason = next(iter(entry.reason for entry in manifest.segments), "")
    return PublishResult(root, len(index.segments), len(index.video_ids), index.num_moments, reason)
