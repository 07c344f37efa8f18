"""Write files of tubes; tube_file.py says what is in them."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py

from .errors import OutputError
from .feature_hdf5 import TUBES_FORMAT
from .places import aside, check_file
from .tube_file import VERSION, Footage, FoundTube, reason_of, stored


def write_tubes(
    path: str | os.PathLike[str],
    videos: Iterable[tuple[str, Footage, Sequence[FoundTube]]],
    *,
    backbone: str | None = None,
    made_of: str | None = None,
    source: str | None = None,
) -> None:
    """Write a file of tubes; it replaces what was there in one rename.

    Args:
        made_of, source: of all videos, see `TubeFile`.

    Raises:
        OutputError: the disk refuses.
    """
    path = Path(path)
    check_file(path)
    with _new(path, backbone) as file:
        for video_id, footage, tubes in videos:
            group = file.create_group(stored(video_id))
            group.attrs.update(vars(footage))
            told = {"made_of": made_of, "source": source}
            group.attrs.update({name: value for name, value in told.items() if value is not None})
            for number, found in enumerate(tubes):
                _write(group.create_group(str(number)), found)


def merge_tubes(path: Path, parts: Sequence[Path], *, backbone: str, sources: Mapping[str, str]) -> None:
    """Files of tubes into one, with what it holds already of other videos.

    Args:
        sources: where the files of videos lie, by id; see `TubeFile.source`.

    Raises:
        OutputError: the disk refuses; what was there stays.
    """
    with _new(path, backbone) as file:
        for part in [*parts, *([path] if path.exists() else [])]:
            with h5py.File(part, "r") as other:
                for name in other:
                    if name not in file:
                        other.copy(name, file)
        for video_id, source in sources.items():
            if (name := stored(video_id)) in file:
                file[name].attrs["source"] = source


@contextmanager
def _new(path: Path, backbone: str | None) -> Iterator[h5py.File]:
    """A file of tubes that replaces what is there once it is complete."""
    with aside(path) as unfinished:
        try:
            with h5py.File(unfinished, "w") as file:
                file.attrs.update({"format": TUBES_FORMAT, "version": VERSION})
                if backbone is not None:
                    file.attrs["backbone"] = backbone
                yield file
            with unfinished.open("rb") as written:  # what it was made of is removed afterwards
                os.fsync(written.fileno())
        except (OSError, RuntimeError) as error:  # h5py closes a file on a full disk with a RuntimeError
            raise OutputError(f"{path}: cannot be written ({reason_of(error)}).") from error


def _write(group: h5py.Group, found: FoundTube) -> None:
    group.attrs.update({"first": found.tube.first, "score": found.score})
    group["boxes"] = found.tube.boxes.float().numpy()
    several = len(found.streams) > 1
    for number, stream in enumerate(found.streams):
        group[f"features_{number}" if several else "features"] = stream.numpy()
