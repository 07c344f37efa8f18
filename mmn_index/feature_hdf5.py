"""Snippet features in HDF5: which datasets there are, links followed.

Links are followed within the file, and to other files in the same folder or below it: a file that somebody
else made must not choose which files of this machine are read. What a link or a virtual dataset would read
elsewhere is refused, as is a dataset whose values lie in a file that is not HDF5.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import h5py

from . import feature_names
from .errors import FeatureError

TUBES_FORMAT = "mmn-index tubes"  # what a file of tubes says of itself, which has another reader
_NO_TEXT = "has a name that is not UTF-8: rename it"
_HOPS = 16  # links that lead to links


class _NoWayError(Exception):
    """Why a link cannot be followed."""


class Hdf5Features:
    """The datasets of a file, by video.

    Args:
        kinds: names below each video's that the user chose; none takes the file's only ones.

    Attributes:
        parts: video id -> the names of its datasets.
        broken: video id -> why it cannot be read.
        kinds: what the user has to choose from.
        remarks: what a user should know of the file.

    Raises:
        FeatureError: the file cannot be read, or has nothing of the chosen names.
    """

    def __init__(self, path: Path, kinds: Sequence[str]) -> None:
        self.path = path
        try:
            self._file = h5py.File(path, "r")
            form = self._file.attrs.get("format")
            is_own = "backbone" in self._file.attrs
        except (OSError, KeyError, RuntimeError) as error:  # what HDF5 says of damage is any of them
            hint = "Name the folder." if path.suffix in (".npy", ".npz") else "Is it complete?"
            raise FeatureError(f"{path}: cannot be read as HDF5 ({error}). {hint}") from error
        if str(form) == TUBES_FORMAT:  # a list may stand there, too
            self._file.close()
            raise FeatureError(
                f"{path}: is a file of tubes (`mmn-index tubes`), expected snippet features of videos "
                "(`mmn-index extract`). Tubes are for models over tubes: what `mmn-index train --config "
                "stvg-corrected` makes of them."
            )
        self._files = {path.resolve(): self._file}
        self._root = path.resolve().parent
        self._places: dict[str, tuple[h5py.File, str]] = {}
        self._lost: dict[str, str] = {}
        self._again: list[str] = []
        self._first: dict[tuple[str, int], str] = {}  # where a dataset lies, and its first name
        try:
            self._walk(
                self._file, "", "", frozenset({(self._file.filename, h5py.h5o.get_info(self._file.id).addr)})
            )
        except (OSError, RuntimeError) as error:
            raise FeatureError(
                f"{path}: its table of contents cannot be read ({error}). Is it complete?"
            ) from error
        if kinds:
            layout = feature_names.chosen(self._places, kinds, str(path))
        elif is_own:  # made by this program: each dataset is a video, `porch/cam1` too
            layout = feature_names.Layout({name: (name,) for name in self._places})
        else:
            layout = feature_names.own(self._places, self._floats)
        self.parts, self.kinds = layout.parts, layout.kinds
        self.broken = layout.broken | {
            name: why for name, why in self._lost.items() if name not in layout.parts
        }

    @property
    def remarks(self) -> list[str]:
        """Names that lead to the same features."""
        if not self._again:
            return []
        more = f" and {len(self._again) - 3:,} more" if len(self._again) > 3 else ""
        return [
            (
                f"{self.path}: {len(self._again):,} names lead to features that have another name too, and "
                f"count as videos of their own: {', '.join(self._again[:3])}{more}."
            )
        ]

    def attribute(self, video_id: str | None, name: str) -> object | None:
        """What the file says of itself, or of a video.

        Raises:
            FeatureError: it is damaged there.
        """
        with self._told(video_id):
            holders = [self._file] if video_id is None else [self._dataset(n) for n in self.parts[video_id]]
            return next((holder.attrs[name] for holder in holders if name in holder.attrs), None)

    def attributes(self, video_id: str) -> dict[str, object]:
        """All that the file says of a video.

        Raises:
            FeatureError: it is damaged there.
        """
        with self._told(video_id):
            return {
                name: value for n in self.parts[video_id] for name, value in self._dataset(n).attrs.items()
            }

    def arrays(self, video_id: str) -> list[h5py.Dataset]:
        """The datasets of a video.

        Raises:
            FeatureError: its values lie where they must not be read.
        """
        found = []
        for name in self.parts[video_id]:
            try:
                self._check_inside(*self._places[name])
            except _NoWayError as error:
                raise FeatureError(f"{self.path}: video '{video_id}' {error}.") from error
            found.append(self._dataset(name))
        return found

    @property
    def state(self) -> str:
        """Size and time of every file that is read."""
        stats = [path.stat() for path in self._files]
        return " ".join(f"{stat.st_size} {stat.st_mtime_ns}" for stat in stats)

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            file.close()

    @contextmanager
    def _told(self, video_id: str | None) -> Iterator[None]:
        """Turn what HDF5 raises while attributes are read into one of our errors."""
        try:
            yield
        except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
            whose = "its attributes" if video_id is None else f"the attributes of video '{video_id}'"
            raise FeatureError(
                f"{self.path}: {whose} cannot be read ({_reason(error)}). Is the file complete?"
            ) from error

    def _dataset(self, name: str) -> h5py.Dataset:
        file, place = self._places[name]
        return file[place]

    def _floats(self, name: str) -> tuple[int, ...]:
        dataset = self._dataset(name)
        return dataset.shape or () if dataset.dtype.kind == "f" else ()

    def _walk(self, file: h5py.File, place: str, shown: str, above: frozenset[tuple[str, int]]) -> None:
        """All datasets below a group, under the names by which they are reached."""
        group = file[place or "/"]
        for name in group:
            if isinstance(name, bytes):  # what h5py makes of a name that is not UTF-8
                self._lost[f"{shown}{name.decode(errors='backslashreplace')}"] = _NO_TEXT
                continue
            known, owner, target = f"{shown}{name}", file, f"{place}/{name}"
            try:
                hard = group.id.links.get_info(name.encode()).type == h5py.h5l.TYPE_HARD
                if not hard:
                    owner, target = self._follow(file, target)
                item = group[name] if hard else owner[target]
                getattr(item, "dtype", None)  # one that NumPy lacks raises
            except UnicodeEncodeError:
                self._lost[ascii(known)] = _NO_TEXT
            except _NoWayError as error:
                self._lost[known] = str(error)
            except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
                self._lost[known] = f"cannot be opened ({_reason(error)})"
            else:
                key = owner.filename, h5py.h5o.get_info(item.id).addr
                if isinstance(item, h5py.Dataset):
                    self._places[known] = owner, target
                    if (first := self._first.setdefault(key, known)) != known:
                        self._again.append(f"'{known}' (as '{first}')")
                elif isinstance(item, h5py.Group) and key not in above:  # else a link leads back up
                    self._walk(owner, target, f"{known}/", above | {key})

    def _follow(self, file: h5py.File, path: str, hops: int = 0) -> tuple[h5py.File, str]:
        """Where a path leads: a file, and a path in it without any link.

        HDF5 would follow links by itself, wherever they lead.
        """
        if hops > _HOPS:
            raise _NoWayError("is a link that leads in a circle")
        place = ""
        parts = [part for part in PurePosixPath(path).parts if part != "/"]
        for number, part in enumerate(parts):
            link = file[place or "/"].get(part, getlink=True) if _is_group(file, place) else None
            rest = parts[number + 1 :]
            if isinstance(link, h5py.SoftLink):
                start = link.path if link.path.startswith("/") else f"{place}/{link.path}"
                return self._follow(file, "/".join([start, *rest]), hops + 1)
            if isinstance(link, h5py.ExternalLink):
                other = self._open(link.filename, Path(file.filename).parent)
                return self._follow(other, "/".join([link.path, *rest]), hops + 1)
            if link is None:
                raise _NoWayError(f"is a link to '{path}', which is not there")
            place = f"{place}/{part}"
        return file, place or "/"

    def _open(self, name: str, beside: Path) -> h5py.File:
        try:
            target = (beside / name).resolve()
            if not target.is_relative_to(self._root):
                raise _NoWayError(
                    f"leads to {name}, which is not in the folder of {self.path.name}: copy that file there"
                )
            if not target.is_file():
                raise _NoWayError(f"leads to {name}, and there is no such file in {target.parent}")
            if target not in self._files:
                self._files[target] = h5py.File(target, "r")
        except (OSError, ValueError) as error:
            raise _NoWayError(f"leads to {name}, which cannot be read as HDF5 ({error})") from error
        return self._files[target]

    def _check_inside(self, file: h5py.File, place: str, hops: int = 0) -> None:
        """Refuse a dataset that takes its values from elsewhere."""
        dataset = file[place]
        if hops > _HOPS:
            raise _NoWayError("is a virtual dataset that leads in a circle")
        if dataset.external:
            raise _NoWayError(
                f"keeps its values in {dataset.external[0][0]}, which is not HDF5: copy them with h5repack"
            )
        for source in dataset.virtual_sources() if dataset.is_virtual else ():
            own = source.file_name == "."
            other = file if own else self._open(source.file_name, Path(file.filename).parent)
            self._check_inside(*self._follow(other, source.dset_name), hops + 1)


def _is_group(file: h5py.File, place: str) -> bool:
    return not place or isinstance(file[place], h5py.Group)


def _reason(error: Exception) -> str:
    return str(error.args[0] if error.args else error).strip("'\"")
