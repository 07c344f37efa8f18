"""An index of annotated videos that lasts as long as something is trained with it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from mmn_index.embedding import embed_in_batches
from mmn_index.evaluation.annotations import AnnotatedVideo
from mmn_index.index import IndexWriter, Manifest, MomentIndex, PlannedVideo
from mmn_index.model import MMN


def index_videos(
    model: MMN,
    videos: Sequence[AnnotatedVideo],
    pre_clips: Callable[[str], Tensor],
    root: Path,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> MomentIndex:
    """Embed videos with a model as it is now, into an index that is scanned and belongs to nobody else: it is
    not published.

    Args:
        pre_clips: (M, D) of a video, by its id.
        root: a folder of its own, which is made; the caller removes it.

    Raises:
        FeatureError: a video has no usable features.
        OutputError: the disk refuses.
    """
    training = model.training
    model.eval()
    planned = [PlannedVideo(video.video_id, None, video.duration) for video in videos]
    with IndexWriter(root) as writer:
        manifest = Manifest("", None, model.config.joint_dim, model.grid, model.score("collection"), ())
        segment = writer.segment(model.grid, model.config.joint_dim, planned, "training")
        for batch in embed_in_batches(model, pre_clips, [video.video_id for video in videos]):
            for embeddings in batch:
                segment.add(embeddings)
            report(segment.done, len(videos))
        entry = segment.finish()
    model.train(training)
    return MomentIndex.of(root, replace(manifest, segments=(entry,)))
