"""What an index will be made of, found out and checked before any work."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from mmn_index.errors import ConfigError, QueryError
from mmn_index.index import PlannedVideo
from mmn_index.index.vectors import check_factory
from mmn_index.left_out import LeftOut
from mmn_index.models import model_info
from mmn_index.moment_model import ModelInfo
from mmn_index.negatives import KINDS
from mmn_index.scoring import HUB_SCORES, Score

from .candidates import CODES, Wish
from .columns import columns_of
from .source import Source, check_backbone, usable_of

# Of a quarter, a half, three quarters and all of h, a half gave the highest label AP on the validation split
# of ucf-moments with csls: two points more than no correction, where softmax gave one.
DEFAULT_HUB = 0.5


@dataclass(frozen=True)
class Hubs:
    """Sentences that moments are measured against, and what a search makes of it unless it says so itself."""

    # None takes those that the model was trained with, where its checkpoint has them
    sentences: Sequence[str] | None = None
    kind: str = "csls"  # one of negatives.KINDS
    correction: float | None = None  # Score.hub; None takes DEFAULT_HUB for the scores that know one


OWN_SENTENCES = Hubs()  # those of the model


@dataclass(frozen=True)
class Plan:
    """What an index will be made of, found out before any work.

    Attributes:
        videos: that can be used, in the order of their moments.
        metadata: columns of the user's, a row a video.
        sentences: of the bank; None where there is to be none.
    """

    checkpoint: Path
    about: ModelInfo
    source: Source
    videos: list[PlannedVideo]
    left_out: list[LeftOut]
    metadata: pa.Table | None
    remarks: list[str]
    hubs: Hubs | None
    sentences: Sequence[str] | None
    score: Score
    self_contained: bool


def plan_build(
    checkpoint_path: Path,
    source: Source,
    score: str | None = None,
    hubs: Hubs | None = OWN_SENTENCES,
    *,
    self_contained: bool = False,
) -> Plan:
    """Look through everything that an index is built of; see `build`.

    Raises:
        CheckpointError, FeatureError, AnnotationError, ConfigError, QueryError: input that does not fit.
    """
    about = model_info(checkpoint_path)
    check_backbone(about, source.features, checkpoint_path)
    check_wish(about, score, hubs, source.wish, self_contained=self_contained)
    videos, left_out = usable_of(source, about)
    metadata, remarks = columns_of(source.features, [v.video_id for v in videos], source.metadata)
    sentences, ranking = ranking_of(about, score, hubs)
    found = videos, left_out, metadata, remarks, hubs, sentences, ranking
    return Plan(checkpoint_path, about, source, *found, self_contained)


def check_wish(
    about: ModelInfo, score: str | None, hubs: Hubs | None, wish: Wish, *, self_contained: bool
) -> None:
    """Refuse what a model cannot give, before any work.

    Raises:
        ConfigError, QueryError: a score, hub correction, candidate index or copy that there cannot be.
    """
    if self_contained and about.spaces == 1:
        raise ConfigError(
            f"{about.name}: is a dual encoder, which an index names and never copies: leave out "
            "--self-contained, and keep its folder or its name on the Hub."
        )
    ranking_of(about, score, hubs)
    if hubs is not None and hubs.kind not in KINDS:
        raise ConfigError(f"no hub correction is called '{hubs.kind}'; there are {' and '.join(KINDS)}.")
    if wish.vectors not in ("auto", "exact", *CODES):
        check_factory(wish.vectors)


def ranking_of(about: ModelInfo, score: str | None, hubs: Hubs | None) -> tuple[Sequence[str] | None, Score]:
    """The sentences of the bank, None where there is to be none or none are known, and the default score.

    Raises:
        QueryError: a score or hub correction that there cannot be.
    """
    sentences = _sentences(about, hubs)
    return sentences, _score(score or about.score, about, hubs if sentences is not None else None)


def _sentences(about: ModelInfo, hubs: Hubs | None) -> Sequence[str] | None:
    if hubs is None or hubs.sentences is not None:
        return None if hubs is None else hubs.sentences
    own = about.sentences()
    if not own and hubs.correction:
        converted = "(it was converted, or saved by an older version), " if about.spaces == 2 else ""
        raise QueryError(
            f"{about.name}: does not say which sentences it was trained with, {converted}and hubs are "
            "corrected by them. Name some with --bank, such as its training annotations."
        )
    return own or None


def _score(name: str, about: ModelInfo, hubs: Hubs | None) -> Score:
    known = DEFAULT_HUB if hubs is not None and name in HUB_SCORES else 0.0
    hub = known if hubs is None or hubs.correction is None else hubs.correction
    if about.spaces == 1 and name != about.score:
        raise QueryError(
            f"{about.name}: has no IoU head, so the only score is '{about.score}', not '{name}'. Leave out "
            "--score."
        )
    return Score(name, about.power, about.tau, hub)
