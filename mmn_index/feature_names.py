"""Which stored arrays are the features of which video, by their names.

v1                     the video v1
v1/c3d_features        the video v1, where every array has this last name (ActivityNet)
v1/rgb, v1/flow        the video v1 has two kinds of features: which of them to read is the user's choice
rgb/v1, flow/v1        the same, kept by kind
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from .errors import FeatureError


@dataclass
class Layout:
    """What was found under which video's id."""

    parts: dict[str, tuple[str, ...]]  # id -> names of the arrays that are read side by side
    broken: dict[str, str] = field(default_factory=dict)  # id -> why nothing can be read of it
    kinds: tuple[str, ...] = ()  # names below each video that the user has to choose from


def chosen(names: Collection[str], kinds: Sequence[str], where: str) -> Layout:
    """The layout where the user has named the kinds of features to read, side by side.

    Raises:
        FeatureError: no video has any of them; the message starts with `where`.
    """
    found: dict[str, dict[str, str]] = {}
    others: dict[str, list[str]] = {}
    for name in names:
        kind = next((k for k in kinds if name.endswith(f"/{k}") or name.startswith(f"{k}/")), None)
        if kind is None:
            folder, _, last = name.rpartition("/")
            others.setdefault(folder or last, []).append(last)
        else:
            after = name.endswith(f"/{kind}")
            found.setdefault(name[: -len(kind) - 1] if after else name[len(kind) + 1 :], {})[kind] = name
    if not found:
        there = sorted({last for lasts in others.values() for last in lasts})
        raise FeatureError(
            f"{where}: no video has features called {', '.join(kinds)}. The names that there are: "
            f"{', '.join(there[:10])}{', ...' if len(there) > 10 else ''}."
        )
    layout = Layout({})
    for video_id, own in found.items():
        if lacking := [kind for kind in kinds if kind not in own]:
            layout.broken[video_id] = f"has no features called {', '.join(lacking)}, only {', '.join(own)}"
        else:
            layout.parts[video_id] = tuple(own[kind] for kind in kinds)
    for video_id, lasts in others.items():
        if video_id not in found:
            layout.broken[video_id] = (
                f"has no features called {', '.join(kinds)}, only {', '.join(sorted(lasts)[:5])}"
            )
    return layout


def own(names: Collection[str], shape: Callable[[str], tuple[int, ...]]) -> Layout:
    """The layout of a file from elsewhere, where the user has named nothing.

    Args:
        shape: of the array of a name; () where it holds no floats.
    """
    last = {name.rpartition("/")[2] for name in names}
    nested = all("/" in name for name in names)
    ending = f"/{last.pop()}" if len(last) == 1 and nested else ""
    below: dict[str, list[str]] = {}
    for name in names:
        folder, _, own_name = name.removesuffix(ending).rpartition("/")
        if folder:
            below.setdefault(folder, []).append(own_name)
    kinds = _kinds(below, lambda folder, kind: shape(f"{folder}/{kind}{ending}"))
    layout = Layout({name.removesuffix(ending): (name,) for name in names})
    if not kinds:
        return layout
    usable = [
        kind
        for kind in kinds
        if any(len(shape(f"{f}/{kind}{ending}")) == 2 for f, present in below.items() if kind in present)
    ]
    if len(usable) == 1:  # the others are no features: lengths, frame numbers, names
        kind = usable[0]
        for folder, present in below.items():
            for other in present:
                layout.parts.pop(f"{folder}/{other}")
            if kind in present:
                layout.parts[folder] = (f"{folder}/{kind}{ending}",)
            else:
                layout.broken[folder] = f"has no features called {kind}"
        return layout
    layout.kinds = tuple(sorted(kind + ending for kind in usable or kinds))
    layout.broken = {folder: several(layout.kinds) for folder in below}
    return layout


def several(kinds: Sequence[str]) -> str:
    """What to say of a video with several kinds of features."""
    return (
        f"has several arrays of features ({', '.join(kinds)}). Choose with --feature-name {kinds[0]}, or "
        f"with --feature-name {','.join(kinds[:2])} to read them side by side"
    )


def _kinds(below: Mapping[str, Sequence[str]], shape: Callable[[str, str], tuple[int, ...]]) -> list[str]:
    """The names that come back below many videos; none where each array is a video of its own.

    As many videos as kinds, at least: the folders of `porch/cam1 ... porch/cam9, hall/cam1 ...` are not
    videos.
    """
    found = sorted({kind for present in below.values() for kind in present})
    most = max((len(present) for present in below.values()), default=0)
    if most < 2:
        return []
    if len(below) == 1:  # of one video, kinds of features have the same number of snippets
        folder = next(iter(below))
        rows = {shape(folder, kind)[:1] for kind in found if len(shape(folder, kind)) == 2}
        return found if len(rows) == 1 and len(found) <= 4 else []
    again = [kind for kind in found if sum(kind in present for present in below.values()) > 1]
    return found if len(again) > 1 and len(below) >= len(found) else []
