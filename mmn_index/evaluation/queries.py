"""The sentences of a split as queries to a collection, and what counts as a right answer to each.

    own     the sentence's own moment; where annotations give it several (QVHighlights), any of them
    text    every moment that is annotated with the same normalised text, in whatever video
    label   every moment with the same label, where annotations carry labels

A single right answer is the benchmarks' convention, but one that no system can meet: of the test queries of
Charades-STA 32.6 % share their text with a query of another video.
"""

import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ..errors import AnnotationError
from ..index import MomentIndex
from ..moments import temporal_iou
from ..proposals import ProposalGrid
from ..windows import Window
from .annotations import Annotations
from .recall import Right, hits


def normalise(text: str) -> str:
    """Lower case, single spaces, no punctuation at the end.

    >>> normalise(" Person opens  the door. ")
    'person opens the door'
    """
    return " ".join(text.lower().split()).rstrip(string.punctuation + " ")


@dataclass(frozen=True)
class Corpus:
    """The videos that are searched, by their numbers."""

    ids: Mapping[int, str]
    durations: Mapping[int, float]  # seconds
    grid: ProposalGrid | None  # of every window; None where moments are not those of a grid
    windows: Mapping[int, Sequence[Window]] = field(default_factory=dict)  # of videos that have several
    tubes: Mapping[int, Tensor] = field(
        default_factory=dict
    )  # (n, 2) seconds: all moments of a video's tubes

    @property
    def proposals(self) -> ProposalGrid:
        """The grid, where there has to be one."""
        if self.grid is None:
            raise ValueError("the moments of this corpus are not those of a grid")
        return self.grid

    def spans(self, number: int) -> Tensor:
        """(P, 2) float32 seconds: the proposals of a video, those of all its windows or tubes."""
        if number in self.tubes:
            return self.tubes[number]
        if number not in self.windows:
            return self.proposals.seconds(self.durations[number])
        if number not in self._long:
            windows = self.windows[number]
            self._long[number] = torch.cat(
                [self.proposals.seconds(length) + start for start, length in windows]
            )
        return self._long[number]

    @cached_property
    def _long(self) -> dict[int, Tensor]:
        """Proposals of videos of several windows, which every query would else ask for anew."""
        return {}

    def count(self, number: int) -> int:
        """How many proposals a video has."""
        if number in self.tubes:
            return len(self.tubes[number])
        return len(self.proposals) * max(1, len(self.windows.get(number, ())))

    @property
    def num_moments(self) -> int:
        """Proposals of all videos."""
        return sum(map(self.count, self.ids))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Number of each video by its id."""
        return {video_id: number for number, video_id in self.ids.items()}

    @cached_property
    def lengths(self) -> dict[str, float]:
        """Seconds of each video by its id."""
        return {video_id: self.durations[number] for number, video_id in self.ids.items()}


def indexed(index: MomentIndex) -> Corpus:
    """The videos of an index, by its own numbers."""
    live = index.live.nonzero()[0].tolist()
    ids, durations = (index.videos[name].to_pylist() for name in ("video_id", "duration"))
    windows = {} if index.manifest.tubes else {n: index.rows.windows_of(n) for n in live}
    return Corpus(
        {n: ids[n] for n in live},
        {n: durations[n] for n in live},
        index.manifest.grid,
        {n: several for n, several in windows.items() if len(several) > 1},
        {n: _of_tubes(index, n) for n in live} if index.manifest.tubes else {},
    )


def _of_tubes(index: MomentIndex, number: int) -> Tensor:
    """The moments of a video's tubes: of a short one some rows are none."""
    spans = torch.from_numpy(index.spans(index.rows_of(number)))
    return spans[spans[:, 0] < spans[:, 1]]


def annotated(split: Annotations) -> Corpus:
    """The videos of a split, in its order."""
    return Corpus(
        {number: video.video_id for number, video in enumerate(split.videos)},
        {number: video.duration for number, video in enumerate(split.videos)},
        None,
    )


@dataclass(frozen=True)
class Queries:
    """The sentences of a split, one after the other; those of one video stand together."""

    sentences: tuple[str, ...]
    positions: tuple[int, ...]  # in the annotation file, dropped sentences counted
    videos: Tensor  # (Q,) int64 number of each one's video in the corpus
    moments: Tensor  # (Q, 2) float32 seconds; of several right ones the first
    labels: tuple[str, ...] | None
    several: Mapping[int, Tensor] = field(
        default_factory=dict
    )  # of queries with several: (n, 2), all of them

    def __len__(self) -> int:
        return len(self.sentences)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Normalised sentences."""
        return tuple(normalise(sentence) for sentence in self.sentences)

    @cached_property
    def clusters(self) -> Tensor:
        """(Q,) int64: queries of one normalised text have one number."""
        numbers: dict[str, int] = {}
        return torch.tensor([numbers.setdefault(text, len(numbers)) for text in self.texts])

    @cached_property
    def right(self) -> dict[str, list[Right]]:
        """Right answers to each query, by what counts; queries of one text or label share the object."""
        spans = [self.spans(number) for number in range(len(self))]
        own = [
            Right(video.expand(len(moments)), moments)
            for video, moments in zip(self.videos, spans, strict=True)
        ]
        found = {"own": own, "text": self._shared(self.texts)}
        return found if self.labels is None else {**found, "label": self._shared(self.labels)}

    def part(self, rows: Sequence[int]) -> "Queries":
        """Some of the queries."""
        return Queries(
            tuple(self.sentences[row] for row in rows),
            tuple(self.positions[row] for row in rows),
            self.videos[list(rows)],
            self.moments[list(rows)],
            None if self.labels is None else tuple(self.labels[row] for row in rows),
            {number: self.several[row] for number, row in enumerate(rows) if row in self.several},
        )

    def spans(self, number: int) -> Tensor:
        """(n, 2) float32 seconds: the right moments of a query in its own video."""
        return self.several.get(number, self.moments[number][None])

    def by_video(self) -> Iterator[tuple[int, list[int]]]:
        """Each video's number with the numbers of its queries, in order."""
        found: dict[int, list[int]] = {}
        for number, video in enumerate(self.videos.tolist()):
            found.setdefault(video, []).append(number)
        return iter(found.items())

    def _shared(self, keys: Sequence[str]) -> list[Right]:
        members: dict[str, list[int]] = {}
        for number, key in enumerate(keys):
            members.setdefault(key, []).append(number)
        shared = {}
        for key, numbers in members.items():
            spans = [self.spans(number) for number in numbers]
            videos = self.videos[numbers].repeat_interleave(torch.tensor([len(one) for one in spans]))
            shared[key] = Right(videos, torch.cat(spans))
        return [shared[key] for key in keys]


def queries_of(split: Annotations, corpus: Corpus) -> Queries:
    """The queries of a split.

    Raises:
        AnnotationError: the corpus lacks videos of the annotations.
    """
    videos = split.videos
    if missing := [video.video_id for video in videos if video.video_id not in corpus.numbers]:
        raise AnnotationError(
            f"{split.path}: {len(missing)} of its {len(videos)} videos are not among the {len(corpus.ids)} "
            f"that are searched, e.g. '{missing[0]}'."
        )
    alike = [(video, same) for video in videos for same in video.alike]
    labelled = all(video.labels is not None for video in videos)
    return Queries(
        tuple(video.sentences[same[0]] for video, same in alike),
        tuple(video.positions[same[0]] for video, same in alike),
        torch.tensor([corpus.numbers[video.video_id] for video, _ in alike]),
        torch.stack([video.moments[same[0]] for video, same in alike]),
        tuple((video.labels or ())[same[0]] for video, same in alike) if labelled else None,
        {number: video.moments[same] for number, (video, same) in enumerate(alike) if len(same) > 1},
    )


def count_right(right: Sequence[Right], corpus: Corpus, m: float) -> Tensor:
    """(Q,) int64: how many proposals of all videos have an IoU of at least m with a right moment of their
    video.
    """
    counted: dict[int, int] = {}  # by identity: queries share right answers
    for one in right:
        if id(one) not in counted:
            ious = [
                temporal_iou(one.spans[one.videos == video][:, None], corpus.spans(video)[None])
                for video in one.distinct
            ]  # (r, P) each
            counted[id(one)] = int(sum(hits(of_video, m).any(dim=0).sum() for of_video in ious))
    return torch.tensor([counted[id(one)] for one in right])


def tied_videos(queries: Queries) -> Tensor:
    """(Q,) int64: how many videos have a query of the same normalised text, the query's own included."""
    pairs = set(zip(queries.texts, queries.videos.tolist(), strict=True))
    count = Counter(text for text, _ in pairs)
    return torch.tensor([count[text] for text in queries.texts])
