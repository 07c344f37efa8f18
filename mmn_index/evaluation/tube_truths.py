"""Sentences with the tube that each describes, in HC-STVG's form or in VidSTG's (vidstg.py). HC-STVG's:

    {"video.mp4": {"bbox": [[x, y, w, h], ...], "st_frame": 31, "ed_frame": 74, "English": "he sits down"}}

A box a frame from st_frame to ed_frame, both included, frames counted from 1 (tube_files.py), and one
sentence a video.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import AnnotationError
from ..video.suffixes import without_suffix
from .annotations import held_out, remark_on_cut
from .row_files import keyed, read_content
from .tube_files import Stretch, TubeTruth, right_tubes, stated_of
from .vidstg import is_vidstg, vidstg_truths

_CONTENT = "HC-STVG's {video: {bbox: [[x, y, w, h], ...], st_frame, ed_frame, English}}, a box a frame"
_FORM = f"Expected {_CONTENT}."


@dataclass(frozen=True)
class TubeTruths:
    """One split in the order of the videos' ids."""

    path: Path
    videos: tuple[TubeTruth, ...]  # with one sentence each; one with several is there as often
    cut: int = 0  # sentences that were cut to what a text encoder reads

    @property
    def cut_remark(self) -> str:
        """How many sentences are cut, for people; empty where none is."""
        return remark_on_cut(self.path, self.cut)

    @property
    def num_sentences(self) -> int:
        """One of each entry of `videos`."""
        return len(self.videos)

    def held_out(self, share: float) -> tuple["TubeTruths", "TubeTruths"]:
        """As `annotations.hold_out`: the rest, and what is kept back for validation."""
        held = held_out(list(dict.fromkeys(video.video_id for video in self.videos)), share, self.path)
        parts = ([v for v in self.videos if (v.video_id in held) is kept] for kept in (False, True))
        rest, kept = (replace(self, videos=tuple(part)) for part in parts)
        return rest, kept

    @property
    def digest(self) -> str:
        """Of all that it says of its videos."""
        found = hashlib.sha256()
        for video in self.videos:
            about = (video.video_id, video.sentence, *(video.segment or ()))
            found.update(repr(about).encode("utf-8", "surrogatepass"))
            found.update(video.tube.frames.numpy().tobytes() + video.tube.boxes.numpy().tobytes())
        return found.hexdigest()[:16]

    def worded(self, shortened: Callable[[Sequence[str]], list[str]]) -> "TubeTruths":
        """The same with sentences that a text encoder can read, see SentenceTokenizer.shortened."""
        sentences = shortened([video.sentence for video in self.videos])
        pairs = zip(self.videos, sentences, strict=True)
        videos = tuple(replace(video, sentence=sentence) for video, sentence in pairs)
        cut = sum(a.sentence != b.sentence for a, b in zip(self.videos, videos, strict=True))
        return replace(self, videos=videos, cut=cut)


def read_truths(path: str | os.PathLike[str]) -> TubeTruths:
    """Read one split, in the order of the videos' ids: of HC-STVG, the file's name without the extension.

    Raises:
        AnnotationError: the file is missing or has another form; the message names the video.
    """
    path = Path(path)
    content = read_content(path, _CONTENT)
    if is_vidstg(content):
        return TubeTruths(path, tuple(sorted(vidstg_truths(path, content), key=lambda one: one.video_id)))
    entries = keyed(path, content, _CONTENT)
    found: dict[str, TubeTruth] = {}
    for name, stretch in sorted(right_tubes(path, entries).items()):
        video_id = without_suffix(name)
        sentence, where = entries[name].get("English"), f"{path}: '{name}'"
        if not video_id or video_id in found:
            raise AnnotationError(f"{where} has an empty name, or one that another video has too.")
        if not isinstance(sentence, str) or not sentence.strip():
            raise AnnotationError(f"{where} has no sentence (English is {sentence!r}). {_FORM}")
        found[video_id] = TubeTruth(
            video_id, sentence.strip(), stretch, name, stated=stated_of(entries[name])
        )
    return TubeTruths(path, tuple(found.values()))


def read_right_tubes(path: Path) -> dict[str, Stretch]:
    """The right tube of each sentence by its name in files of results; HC-STVG's need no sentence.

    Raises:
        AnnotationError: the file is missing or has another form; the message names the video.
    """
    content = read_content(path, _CONTENT)
    if is_vidstg(content):
        return {one.name: one.stretch for one in vidstg_truths(path, content)}
    return right_tubes(path, keyed(path, content, _CONTENT))
