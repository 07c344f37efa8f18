"""Shards of a build on a storage that has no folders, such as S3: whatever fsspec knows by a URL.

A shard is complete there once its manifest is, which is written last, under a name of its own:

    1-of-4.json                    its manifest
    1-of-4.<digest of that>/...    what the manifest names, and the list of what was left out

so that two processes which store the same shard do not mix their files, and what was interrupted can be
stored again. What is fetched is compared with the sizes and digests of the manifest.
"""

import errno
import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem
from fsspec.core import url_to_fs

from mmn_index.errors import ConfigError, DependencyError, MomentIndexError, OutputError
from mmn_index.index import Manifest
from mmn_index.index.manifest import NAME, read_manifest
from mmn_index.index.segment_files import on_disk
from mmn_index.places import Hold, aside, beside

from .shards import check_counts, check_files, damaged, place_of
from .share import Share
from .store_url import check_login, hidden, shown

_LEFT_OUT = "left-out.txt"
_BUCKETS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"}  # have no folders; to make one may make a bucket
_FULL = (errno.ENOSPC, errno.EDQUOT)


class ShardStore:
    """Where the shards of a build are kept.

    Args:
        url: such as s3://bucket/run1. Keys and addresses are found as the file system's package finds them:
            for S3 AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and the like.

    Attributes:
        shown: the URL for people, without a password that it may hold.

    Raises:
        ConfigError: no such kind of storage.
        DependencyError: its package is not installed.
        OutputError: it does not answer.
    """

    def __init__(self, url: str) -> None:
        self._url, self.shown = url, shown(url.rstrip("/"))
        named = re.fullmatch(r"[a-z][a-z0-9+.-]*://(.*)", url, re.DOTALL)
        if named is None or not named[1].strip("/"):
            raise ConfigError(f"--store {shown(url)}: expected a URL, such as s3://bucket/run1.")
        check_login(url)
        try:
            found: tuple[AbstractFileSystem, str] = url_to_fs(url.rstrip("/"))
        except ImportError as error:
            package = "'mmn-index[s3]'" if url.startswith("s3:") else "the package that it names"
            said = hidden(url, str(error))
            raise DependencyError(f"--store {self.shown}: {said}. Install {package}.") from error
        except ValueError as error:
            raise ConfigError(f"--store {self.shown}: {hidden(url, str(error))}.") from error
        except Exception as error:  # some connect at once
            raise self._refused("reached", error) from error
        self._files, self._base = found
        protocol = self._files.protocol
        self._folders = not _BUCKETS.intersection([protocol] if isinstance(protocol, str) else protocol)
        if isinstance(self._files, AsyncFileSystem):
            # What its tasks have to say besides the errors that they raise, nobody can do anything about.
            self._files.loop.set_exception_handler(lambda loop, context: None)

    def check(self) -> None:
        """Find out whether the storage answers.

        Raises:
            OutputError: it does not, or has no such bucket.
        """
        self.shares()
        bucket = self._base.partition("/")[0]
        with self._reached("reached"):
            there = self._folders or self._files.exists(bucket)
        if not there:
            raise OutputError(f"{self.shown}: there is no bucket '{bucket}', or none for these keys.")

    def put(self, root: Path, share: Share, left_out: str = "") -> bool:
        """Store a complete shard; whether it was not there already.

        Args:
            root: of the index that is to be.
            left_out: what the shard has left out, a line each.

        Raises:
            MomentIndexError: a file of the shard is damaged.
            OutputError: the storage refuses.
        """
        place = place_of(root, share)
        manifest, content = read_manifest(place), (place / NAME).read_bytes()
        check_files(place, manifest)
        folder, named, listed = _folder(share, content), f"{share.name}.json", left_out.encode()
        with self._reached("written"):
            self._files.invalidate_cache()
            before = self._content(named)
            missing = {
                name: about
                for name, about in manifest.files.items()
                if self._size(f"{folder}/{name}") != about[0]
            }
            if not missing and before == content and self._content(f"{folder}/{_LEFT_OUT}") == listed:
                return False
            for name, about in missing.items():
                if on_disk(place / name) != about:
                    raise damaged(place, name)
                self._make_folder(f"{folder}/{name}")
                self._files.put_file(str(place / name), self._at(f"{folder}/{name}"))
            self._make_folder(f"{folder}/{_LEFT_OUT}")
            self._files.pipe_file(self._at(f"{folder}/{_LEFT_OUT}"), listed)
            self._files.pipe_file(self._at(named), content)
            if before not in (None, content):
                self._remove(_folder(share, before))
        return True

    def shares(self) -> list[Share]:
        """The shards that are complete here."""
        with self._reached("read"):
            self._files.invalidate_cache()
            try:
                paths = self._files.ls(self._base, detail=False)
            except FileNotFoundError:
                return []
        files = [PurePosixPath(path) for path in paths]
        shares = [Share.named(path.stem) for path in files if path.suffix == ".json"]
        return sorted(filter(None, shares), key=lambda share: (share.of, share.number))

    def manifests(self) -> dict[Share, tuple[Manifest, bytes]]:
        """The manifests of all shards that are complete here, and the files that they were read from.

        Raises:
            MomentIndexError: none is there, one is damaged, or they are of several counts.
            OutputError: the storage cannot be reached.
        """
        shares = self.shares()
        remedy = (
            "Remove the files N-of-M.json of those that are not wanted, and the folders that begin alike."
        )
        check_counts(f"{self.shown}: has", shares, remedy)
        return {share: self._manifest(share) for share in shares}

    def fetch(self, root: Path, share: Share, known: tuple[Manifest, bytes]) -> None:
        """Bring a shard to where `publish` looks for it. What is there already is not fetched again.

        Args:
            known: see `manifests`.

        Raises:
            MomentIndexError: what was fetched does not fit its manifest.
            OutputError: the storage, or the disk, refuses; or the shard is being written here.
        """
        manifest, content = known
        place, folder = place_of(root, share), _folder(share, content)
        hold = Hold(place, f"{root}: shard {share} is being written here. Wait until it is complete.")
        try:
            if (place / NAME).is_file() and (place / NAME).read_bytes() == content:
                return
            with self._reached("read"):
                (place / NAME).unlink(missing_ok=True)  # of another state, whose files are replaced now
                for name, about in manifest.files.items():
                    self._fetch_file(share, f"{folder}/{name}", place / name, about)
                self._fetch_file(share, f"{folder}/{_LEFT_OUT}", beside(place, f".{_LEFT_OUT}"))
                with aside(place / NAME) as unfinished:
                    unfinished.write_bytes(content)
        finally:
            hold.release()

    def clear(self, folder: Path) -> None:
        """Remove shards that have been published: first what makes them complete. What a run did that was
        killed meanwhile may be done.

        Args:
            folder: that of the same shards here. Others, and later ones of the same numbers, stay.
        """
        with self._reached("cleared"):
            self._files.invalidate_cache()
            for path in sorted(folder.glob(f"*-of-*.mmn/{NAME}")):
                share, content = Share.named(path.parent.stem), path.read_bytes()
                if share is None:
                    continue
                if self._content(f"{share.name}.json") == content:
                    self._files.rm_file(self._at(f"{share.name}.json"))
                self._remove(_folder(share, content))

    def _fetch_file(self, share: Share, name: str, path: Path, about: tuple[int, str] | None = None) -> None:
        if about is not None and path.is_file() and on_disk(path) == about:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside(path) as unfinished:
            try:
                self._files.get_file(self._at(name), str(unfinished))
            except FileNotFoundError as error:
                raise MomentIndexError(f"{self.shown}/{name}: is missing. Run {_again(share)}") from error
            if about is not None and on_disk(unfinished) != about:
                raise MomentIndexError(
                    f"{self.shown}/{name}: is damaged ({unfinished.stat().st_size:,} bytes, expected "
                    f"{about[0]:,}, or of another content). Remove this file there, and run {_again(share)}"
                )

    def _manifest(self, share: Share) -> tuple[Manifest, bytes]:
        name = f"{share.name}.json"
        with self._reached("read"):
            content: bytes = self._files.cat_file(self._at(name))
        with tempfile.TemporaryDirectory(prefix="mmn-index-") as folder:
            (Path(folder) / NAME).write_bytes(content)
            try:
                manifest = read_manifest(Path(folder))
            except MomentIndexError as error:
                told = str(error).replace(f"{folder}/{NAME}", f"{self.shown}/{name}")
                again = told.replace("Build the index again.", f"Run {_again(share)}")
                raise MomentIndexError(again) from error
        about = manifest.shard
        if about is None or Share(about.number, about.of) != share:
            raise MomentIndexError(f"{self.shown}/{name}: is no shard {share}. Run {_again(share)}")
        return manifest, content

    def _make_folder(self, name: str) -> None:
        """The folder of a file."""
        if self._folders:
            self._files.makedirs(str(PurePosixPath(self._at(name)).parent), exist_ok=True)

    def _remove(self, folder: str) -> None:
        with suppress(FileNotFoundError):
            self._files.rm(self._at(folder), recursive=True)

    def _size(self, name: str) -> int | None:
        """Bytes of a file; None where there is none."""
        try:
            return int(self._files.size(self._at(name)))
        except FileNotFoundError:
            return None

    def _content(self, name: str) -> bytes | None:
        """What a small file holds; None where there is none."""
        try:
            content: bytes = self._files.cat_file(self._at(name))
        except FileNotFoundError:
            return None
        return content

    def _at(self, name: str) -> str:
        return f"{self._base}/{name}"

    @contextmanager
    def _reached(self, done: str) -> Iterator[None]:
        try:
            yield
        except (MomentIndexError, OutputError):
            raise
        except Exception as error:  # each file system has errors of its own, of no common class
            raise self._refused(done, error) from error

    def _refused(self, done: str, error: Exception) -> OutputError:
        said = hidden(self._url, " ".join(str(error).split())) or type(error).__name__
        full = isinstance(error, OSError) and error.errno in _FULL
        hint = "Free some space" if full else "Check the URL, the keys and the connection"
        return OutputError(f"{self.shown}: cannot be {done} ({said}). {hint}; the same command resumes.")


def _again(share: Share) -> str:
    return f"the same `mmn-index build` with --shard {share} and --store again, which stores it anew."


def _folder(share: Share, manifest: bytes) -> str:
    return f"{share.name}.{hashlib.sha256(manifest).hexdigest()[:16]}"
