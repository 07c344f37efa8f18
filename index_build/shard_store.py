"""Shards of a build on a storage that has no folders, such as S3: whatever fsspec knows by a URL.

A shard is complete there once its manifest is, which is written last, under a name of its own:

    1-of-4.json                    its manifest
    1-of-4.<digest of that>/...    what the manifest names, and the list of what was left out

so that two processes which store the same shard do not mix their files, and what was interrupted can be
stored again. What is fetched is compared with the sizes and digests of the manifest.
"""

import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from mmn_index.errors import ConfigError, DependencyError, MomentIndexError, OutputError
from mmn_index.index import Manifest
from mmn_index.index.manifest import NAME, read_manifest
from mmn_index.index.segment_files import on_disk
from mmn_index.places import Hold, aside, beside

from .candidates import Wish
from .publish import PublishResult, publish
from .shards import place_of
from .share import Share
from .source import Report

_LEFT_OUT = "left-out.txt"


class ShardStore:
    """Where the shards of a build are kept.

    Args:
        url: such as s3://bucket/run1. Keys and addresses are found as the file system's package finds them:
            for S3 AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and the like.

    Raises:
        ConfigError: no such kind of storage.
        DependencyError: its package is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        if not re.match(r"[a-z][a-z0-9+.-]*://", url):
            raise ConfigError(f"--store {url}: expected a URL, such as s3://bucket/run1.")
        try:
            found: tuple[AbstractFileSystem, str] = url_to_fs(self.url)
        except ImportError as error:
            package = "'mmn-index[s3]'" if url.startswith("s3:") else "the package that it names"
            raise DependencyError(f"--store {url}: {error}. Install {package}.") from error
        except ValueError as error:
            raise ConfigError(f"--store {url}: {error}.") from error
        self._files, self._base = found

    def put(self, root: Path, share: Share, left_out: str = "") -> bool:
        """Store a complete shard; whether it was not there already.

        Args:
            root: of the index that is to be.
            left_out: what the shard has left out, a line each.

        Raises:
            OutputError: the storage refuses.
        """
        place = place_of(root, share)
        manifest, content = read_manifest(place), (place / NAME).read_bytes()
        folder, named = self._folder(share, content), self._at(f"{share.name}.json")
        with self._reached("written"):
            self._files.invalidate_cache()
            files = {
                self._at(f"{folder}/{name}"): (place / name, size)
                for name, (size, _) in _named(manifest).items()
            }
            missing = {target: path for target, (path, size) in files.items() if self._size(target) != size}
            if not missing and self._size(named) == len(content) and self._files.cat_file(named) == content:
                return False
            for target, path in missing.items():
                self._files.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
                self._files.put_file(str(path), target)
            self._files.makedirs(self._at(folder), exist_ok=True)
            self._files.pipe_file(self._at(f"{folder}/{_LEFT_OUT}"), left_out.encode())
            self._files.pipe_file(named, content)
        return True

    def shares(self) -> list[Share]:
        """The shards that are complete here."""
        with self._reached("read"):
            self._files.invalidate_cache()
            try:
                paths = self._files.ls(self._base, detail=False)
            except FileNotFoundError:
                return []
        names = [re.fullmatch(r"(\d{1,6})-of-(\d{1,6})\.json", PurePosixPath(path).name) for path in paths]
        shares = [Share(int(n[1]), int(n[2])) for n in names if n and 1 <= int(n[1]) <= int(n[2])]
        return sorted(shares, key=lambda share: (share.of, share.number))

    def fetch(self, root: Path, report: Report = lambda done, total: None) -> None:
        """Bring all shards to where `publish` looks for them. What is there already is not fetched again.

        Args:
            report: called with (shards fetched, shards in all).

        Raises:
            MomentIndexError: none is there, or what was fetched does not fit its manifest.
            OutputError: the storage, or the disk, refuses; or a shard is being written here.
        """
        shares = self.shares()
        if not shares:
            raise MomentIndexError(
                f"{self.url}: has no complete shard. `mmn-index build ... --shard 1/N --store {self.url}` "
                "stores the first of N."
            )
        for done, share in enumerate(shares):
            report(done, len(shares))
            self._fetch(root, share)
        report(len(shares), len(shares))

    def clear(self) -> None:
        """Remove the shards: first what makes them complete."""
        with self._reached("cleared"):
            for share in self.shares():
                folder = self._folder(share, self._files.cat_file(self._at(f"{share.name}.json")))
                self._files.rm_file(self._at(f"{share.name}.json"))
                self._files.rm(self._at(folder), recursive=True)

    def _fetch(self, root: Path, share: Share) -> None:
        manifest, content = self._manifest(share)
        place, folder = place_of(root, share), self._folder(share, content)
        hold = Hold(place, f"{root}: shard {share} is being written here. Wait until it is complete.")
        try:
            if (place / NAME).is_file() and (place / NAME).read_bytes() == content:
                return
            (place / NAME).unlink(missing_ok=True)  # of another state, whose files are replaced now
            with self._reached("read"):
                for name, about in _named(manifest).items():
                    self._fetch_file(f"{folder}/{name}", place / name, about)
                with aside(beside(place, f".{_LEFT_OUT}")) as unfinished:
                    self._files.get_file(self._at(f"{folder}/{_LEFT_OUT}"), str(unfinished))
            with aside(place / NAME) as unfinished:
                unfinished.write_bytes(content)
        finally:
            hold.release()

    def _fetch_file(self, name: str, path: Path, about: tuple[int, str]) -> None:
        if path.is_file() and on_disk(path) == about:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside(path) as unfinished:
            self._files.get_file(self._at(name), str(unfinished))
            if on_disk(unfinished) != about:
                raise MomentIndexError(
                    f"{self.url}/{name}: is damaged ({unfinished.stat().st_size:,} bytes, expected "
                    f"{about[0]:,}, or of another content). Remove {name.split('.')[0]}.json there, and run "
                    "`build` with its --shard again."
                )

    def _manifest(self, share: Share) -> tuple[Manifest, bytes]:
        name = f"{share.name}.json"
        with self._reached("read"):
            content: bytes = self._files.cat_file(self._at(name))
        with tempfile.TemporaryDirectory(prefix="mmn-index-") as folder:
            (Path(folder) / NAME).write_bytes(content)
            try:
                return read_manifest(Path(folder)), content
            except MomentIndexError as error:
                told = str(error).replace(f"{folder}/{NAME}", f"{self.url}/{name}")
                raise MomentIndexError(told) from error

    def _size(self, path: str) -> int | None:
        """Bytes of a file; None where there is none."""
        try:
            return int(self._files.size(path))
        except FileNotFoundError:
            return None

    def _folder(self, share: Share, manifest: bytes) -> str:
        return f"{share.name}.{hashlib.sha256(manifest).hexdigest()[:16]}"

    def _at(self, name: str) -> str:
        return f"{self._base}/{name}"

    @contextmanager
    def _reached(self, done: str) -> Iterator[None]:
        try:
            yield
        except (MomentIndexError, OutputError):
            raise
        except Exception as error:  # each file system has errors of its own, of no common class
            said = " ".join(str(error).split()) or type(error).__name__
            raise OutputError(
                f"{self.url}: cannot be {done} ({said}). Check the URL, the keys and the connection; the "
                "same command resumes."
            ) from error


def _named(manifest: Manifest) -> dict[str, tuple[int, str]]:
    """The files of an index but for its manifest: sizes and digests by their paths in its folder."""
    found = {f"{manifest.model_folder}/{name}": about for name, about in manifest.model_files.items()}
    if manifest.bank is not None:
        found[manifest.bank.file] = manifest.bank.bytes, manifest.bank.sha256
    for entry in manifest.segments:
        found |= {f"segments/{entry.id}/{name}": about for name, about in entry.files.items()}
    return found


def publish_stored(
    root: Path,
    store: ShardStore,
    wish: Wish | None = None,
    *,
    overwrite: bool = False,
    fetching: Report = lambda done, total: None,
    report: Report = lambda done, total: None,
) -> PublishResult:
    """As `publish`, of shards that are stored elsewhere, which are removed there in the end.

    Args:
        fetching: called with (shards fetched, shards in all).

    Raises:
        ConfigError, MomentIndexError, OutputError: as `publish`; or the storage cannot be reached.
    """
    store.fetch(root, fetching)
    result = publish(root, wish, overwrite=overwrite, report=report)
    store.clear()
    return result
