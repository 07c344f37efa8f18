"""Video ids that do not match: what makes them differ."""

import re
from collections.abc import Callable, Collection, Sequence

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{2,4}$")  # .mp4, .avi, .webm, .h5


def likely_cause(wanted: Sequence[str], known: Collection[str]) -> str:
    """Why ids are not among the known ones, as a sentence, or nothing where no cause fits.

    >>> likely_cause(["a.mp4", "b.mp4"], ["a", "b"])
    "Without the suffix '.mp4' 2 of these 2 match, such as 'a.mp4' and 'a'."
    """
    best: tuple[int, str] = (0, "")
    for change, said in _CAUSES:
        forms: dict[str, str] = {}
        for video_id in known:
            forms.setdefault(change(video_id), video_id)
        pairs = [(video_id, forms[form]) for video_id in wanted if (form := change(video_id)) in forms]
        if len(pairs) > best[0]:
            ours, theirs = pairs[0]
            best = (
                len(pairs),
                (
                    f"{said(ours, theirs)} {len(pairs):,} of these {len(wanted):,} match, such as '{ours}' "
                    f"and '{theirs}'."
                ),
            )
    if best[0]:
        return best[1]
    below = next((v for v in known if any(v.startswith(f"{w}/") for w in wanted[:1])), None)
    return f"There is '{below}': choose with --feature-name {below.rpartition('/')[2]}." if below else ""


def _without_suffix(video_id: str) -> str:
    return _SUFFIX.sub("", video_id)


def _suffixes(ours: str, theirs: str) -> str:
    suffix = ours[len(_without_suffix(ours)) :] or theirs[len(_without_suffix(theirs)) :]
    if _without_suffix(ours) in (ours, theirs):
        where = "Without" if _without_suffix(ours) == theirs else "With"
        return f"{where} the suffix '{suffix}'"
    return "Without their suffixes"


def _last(video_id: str) -> str:
    return re.split(r"[/\\]", video_id)[-1]


def _as_activitynet(video_id: str) -> str:
    return video_id.removeprefix("v_")


def _all(video_id: str) -> str:
    return _as_activitynet(_without_suffix(_last(video_id.strip())).casefold())


# From the plainest difference to all together; of two that explain as many ids the first counts.
_CAUSES: tuple[tuple[Callable[[str], str], Callable[[str, str], str]], ...] = (
    (str.strip, lambda ours, theirs: "Without the blanks around them"),
    (_without_suffix, _suffixes),
    (str.casefold, lambda ours, theirs: "In the same case (upper or lower)"),
    (_last, lambda ours, theirs: "Without the folders before them"),
    (_as_activitynet, lambda ours, theirs: "With or without 'v_' before them"),
    (_all, lambda ours, theirs: "But for folders, suffix and case"),
)
