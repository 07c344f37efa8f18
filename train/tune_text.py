"""The text side alone, trained against the frozen embeddings of a whole collection, so that an index already
built stays valid.

ADORE (Zhan et al., "Optimizing Dense Retrieval Model Training with Hard Negatives", SIGIR 2021) for moments.
In every step each sentence is searched among all moments of the training videos as the text side is now, and
the best-ranked wrong ones are its negatives:

    -mean over s of log( exp(f(s, p)) / (exp(f(s, p)) + sum_n exp(f(s, n))) ),
    f = c / tau + log sigmoid(10 i)

f is the score that ranks a collection (scoring.py), p the proposal that fits the sentence's own moment best,
and n runs over the moments that the search finds, without those that match the moment of an alike sentence,
the sentence's own among them.
"""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from mmn_index import checkpoint
from mmn_index.clips import stored_pre_clips
from mmn_index.errors import ConfigError, FeatureError, OutputError
from mmn_index.evaluation.annotations import Annotations
from mmn_index.evaluation.corpus import IndexRank, measure, search_task
from mmn_index.evaluation.queries import indexed, queries_of
from mmn_index.features import FeatureFile
from mmn_index.index import MomentIndex, Restriction
from mmn_index.index.scan import Deadline
from mmn_index.model import MMN, unit
from mmn_index.models import refuse_tubes
from mmn_index.proposals import ProposalGrid
from mmn_index.scoring import Embeddings, Score

from .alike import Alike, meanings
from .batches import derived_seed, readable
from .embedding import index_videos

_MATCH = 0.5  # temporal IoU from which a proposal matches an annotated moment

Report = Callable[[str, int, int, str], None]  # what, done, total, a note for people


@dataclass(frozen=True)
class TuneConfig:
    """How the text side is tuned."""

    epochs: int = 10
    batch_size: int = 32  # sentences of a step
    lr: float = 1e-4
    negatives: int = 100  # moments that are searched for a sentence; those that are right are left out
    alike: float = 0.9  # cosine from which sentences are alike; equal texts and equal labels are
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.negatives) < 1 or not 0 < self.lr < math.inf:
            raise ConfigError(
                f"epochs ({self.epochs}), batch_size ({self.batch_size}), negatives ({self.negatives}) and "
                f"lr ({self.lr}) must be above 0."
            )


@dataclass(frozen=True)
class TuneResult:
    """Where it ended; epoch 0 is the model as it was."""

    checkpoint: Path
    epoch: int  # whose weights were kept
    losses: tuple[float, ...]  # mean of each epoch
    validation: tuple[float, ...]  # `metric` after each epoch from 0 on; empty without a validation split
    metric: str


def tune_text(
    source: Path,
    annotations: Annotations,
    features: FeatureFile,
    out: Path,
    *,
    validation: Annotations | None = None,
    config: TuneConfig | None = None,
    device: str = "cpu",
    report: Report = lambda what, done, total, note: None,
    tell: Callable[[str], None] = lambda remark: None,
) -> TuneResult:
    """Tune the LayerNorm and the heads of a checkpoint's text side; its video side and its transformer stay
    as they are.

    Args:
        source: the checkpoint.
        out: where the tuned one goes.
        validation: searched as a collection of its own after each epoch, and before the first one; the best
            one is kept: by average precision where it has labels, else by R@1,IoU=0.5. Without it the last
            epoch is kept.
        tell: called with remarks for people.

    Raises:
        CheckpointError, FeatureError, AnnotationError, QueryError, ConfigError: input that does not fit.
        OutputError: `out` cannot be written.
    """
    config = config or TuneConfig()
    about = checkpoint.info(source)
    refuse_tubes(source, "text sides cannot be tuned", tubes=about.config.tubes)
    model = checkpoint.load(source, device)
    annotations = readable(annotations, model, tell)
    validation = validation and readable(validation, model, tell)
    if features.dim != about.config.input_dim:
        raise FeatureError(
            f"{features.path}: features have width {features.dim}, {source} expects {about.config.input_dim}."
        )

    def embedded(split: Annotations, name: str) -> MomentIndex:
        return index_videos(
            model,
            split.videos,
            lambda video_id: stored_pre_clips(features, video_id, about.config),
            Path(work) / name,
            lambda done, total: report(f"embedding {name} videos", done, total, ""),
        )

    with _work_folder(out) as work:
        tuning = Tuning(model, annotations, embedded(annotations, "training"), config)
        held_out = (embedded(validation, "validation"), validation) if validation else None
        tuned = tuning.run(held_out, report)
    checkpoint.save(
        model, out, features=about.features, sentences=about.sentences(), durations=about.durations
    )
    return TuneResult(out, *tuned)


def _work_folder(out: Path) -> "tempfile.TemporaryDirectory[str]":
    """A folder beside the checkpoint that is to be written, for as long as it is tuned."""
    if out.exists():
        raise OutputError(f"{out}: exists already. Choose another place with -o.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=f"{out.name}-", dir=out.parent)
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({error.strerror}). Choose another place with -o."
        ) from error


def _found(index: MomentIndex, model: MMN, validation: Annotations) -> tuple[str, float]:
    """What a search of the validation videos finds, in percent, and the name of the number; NMS 0.5."""
    corpus = indexed(index)
    queries = queries_of(validation, corpus)
    rank = IndexRank(index, model.embed_collection(queries.sentences), model.score("collection"))
    found = {
        (one.right, one.iou): one.table()
        for one in measure(search_task("VCMR", 0.5, queries, corpus, rank), queries, corpus)
    }
    if ("label", 0.5) in found:
        return "label AP", found["label", 0.5]["AP"]
    return "own R@1,IoU=0.5", found["own", 0.5]["R@1"]


class Tuning:
    """The text side of a model in training, beside the frozen embeddings of the annotated videos."""

    def __init__(self, model: MMN, annotations: Annotations, index: MomentIndex, config: TuneConfig) -> None:
        self._model, self._index, self._config = model, index, config
        texts, known = meanings(annotations)
        self._alike = Alike.of(model, texts, cosine=config.alike, labels=True)
        self._texts = [text for video in annotations.videos for text in video.sentences]
        self._annotated = Annotated.of(annotations, known, model.grid)
        model.requires_grad_(requires_grad=False)
        parts = (model.text_encoder.norm, model.text_encoder.contrastive_head, model.text_encoder.iou_head)
        self._trained = [parameter.requires_grad_() for part in parts for parameter in part.parameters()]
        self._optimiser = torch.optim.AdamW(self._trained, lr=config.lr, betas=(0.9, 0.99), weight_decay=1e-5)

    def run(
        self, held_out: tuple[MomentIndex, Annotations] | None, report: Report
    ) -> tuple[int, tuple[float, ...], tuple[float, ...], str]:
        """All epochs; the model ends with the weights of the best one.

        Args:
            held_out: the validation videos, embedded, and their annotations.

        Returns:
            What `TuneResult` says after its checkpoint.
        """
        losses: list[float] = []
        values: list[float] = []
        best, kept, metric, text_side = -1.0, 0, "", self._model.text_encoder
        for epoch in range(self._config.epochs + 1):
            if epoch:
                losses.append(self.epoch(epoch, partial(report, f"epoch {epoch}")))
            if held_out:
                metric, value = _found(held_out[0], self._model.eval(), held_out[1])
                values.append(value)
            merit = values[-1] if values else float(epoch)
            if merit > best:
                best, kept = merit, epoch
                weights = {name: tensor.clone() for name, tensor in text_side.state_dict().items()}
        text_side.load_state_dict(weights)
        return kept, tuple(losses), tuple(values), metric

    def epoch(self, epoch: int, report: Callable[[int, int, str], None]) -> float:
        """One pass over the sentences; returns the mean loss. The transformer's dropout is on, as when it was
        trained with.
        """
        self._model.eval()
        self._model.text_encoder.train()
        random = torch.Generator().manual_seed(derived_seed(self._config.seed, epoch))
        order = torch.randperm(len(self._texts), generator=random)
        total = 0.0
        for step, batch in enumerate(torch.split(order, self._config.batch_size)):
            torch.manual_seed(derived_seed(self._config.seed, epoch, step))
            loss = self.loss(batch)
            if not math.isfinite(float(loss.detach())):
                raise ConfigError(
                    f"the loss of epoch {epoch} is {float(loss.detach())}: a rate of {self._config.lr:g} is "
                    "too high."
                )
            self._optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(self._trained, 5.0)
            self._optimiser.step()
            total += float(loss.detach()) * len(batch)
            done = min((step + 1) * self._config.batch_size, len(order))
            report(done, len(order), f"loss {total / done:.3f}")
        return total / len(order)

    def loss(self, batch: Tensor) -> Tensor:
        """Of the sentences with these numbers, (S,)."""
        ids, mask = self._model.tokenizer([self._texts[number] for number in batch.tolist()])
        device = self._model.device
        queries = unit(self._model.text_encoder(ids.to(device), mask.to(device)))
        score = self._model.score("collection")
        found = self._search(Embeddings(*(x.detach() for x in queries)), score)  # (S, n)
        wrong = (found >= 0) & ~self._annotated.matching(found.clamp(min=0), batch, self._alike)
        rows = torch.cat([self._annotated.positives[batch][:, None], found.clamp(min=0)], dim=1)
        moments = (x.to(device).float() for x in self._index.embeddings(rows.numpy()))
        c, i = (
            torch.einsum("sc,snc->sn", query, moment) for query, moment in zip(queries, moments, strict=True)
        )
        counts = torch.cat([torch.ones(len(batch), 1, dtype=torch.bool), wrong], dim=1).to(device)
        logits = score.log(c, i).masked_fill(~counts, -torch.inf)
        return (logits.logsumexp(dim=1) - logits[:, 0]).mean()

    def _search(self, queries: Embeddings, score: Score) -> Tensor:
        """The best moments of the whole collection, (S, n) rows; -1 where there are fewer."""
        planes = [score.tangent(0.0, 0.0)] * len(queries.iou)  # a scan does not look at them
        limit = min(self._config.negatives, self._index.num_moments)
        parts = self._index.parts(Restriction())
        found = self._index.candidates(
            queries, score, planes, limit, parts, scan=True, deadline=Deadline(None)
        )
        return torch.from_numpy(found.rows)


class Annotated:
    """The annotated moments of a collection, by the rows of its index: row r is proposal r % P of video r //
    P.

    Args:
        meanings: (T, 2), of each moment's sentence.
        matches: (T, P) bool, which proposals of its video match it.
        of_video: (V, A) the numbers of a video's moments, filled up with -1.
        positives: (T,) the row that fits it best.
    """

    def __init__(self, meanings: Tensor, matches: Tensor, of_video: Tensor, positives: Tensor) -> None:
        self.positives = positives
        self._meanings, self._matches, self._of_video = meanings, matches, of_video

    @classmethod
    def of(cls, annotations: Annotations, known: list[Tensor], grid: ProposalGrid) -> "Annotated":
        """Those of a split, whose videos lie in the index in their order."""
        targets = [grid.iou_targets(video.moments, video.duration) for video in annotations.videos]
        best = torch.cat([y.argmax(dim=1) + number * len(grid) for number, y in enumerate(targets)])
        numbers = torch.split(torch.arange(len(best)), [len(y) for y in targets])
        of_video = nn.utils.rnn.pad_sequence(list(numbers), batch_first=True, padding_value=-1)
        return cls(torch.cat(known), torch.cat(targets) >= _MATCH, of_video, best)

    def matching(self, rows: Tensor, sentences: Tensor, alike: Alike) -> Tensor:
        """Which of (S, n) rows match the moment of a sentence that is alike; each sentence is alike to
        itself.
        """
        moments = self._of_video[rows // self._matches.shape[1]]  # (S, n, A)
        same = alike(self._meanings[sentences], self._meanings)  # (S, T)
        found = same[torch.arange(len(rows))[:, None, None], moments]
        return (
            found & self._matches[moments, (rows % self._matches.shape[1])[..., None]] & (moments >= 0)
        ).any(dim=2)
