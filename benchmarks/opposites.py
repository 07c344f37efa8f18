"""Does a model tell the direction of time? Moments of opposite actions (open and close, sit down and stand
up) compared.

    python benchmarks/opposites.py demo/run/model demo/features.h5 demo/world/test.json
        demo/world/opposites.json

Every annotated moment stands for its proposal of highest temporal IoU, so localisation plays no part. Two
questions, over all videos of the split, both 50 % by chance; a JSON object a line:

    moment     a sentence is given: does a moment of its action score higher than one of the opposite action?
    sentence   a moment is given: does a sentence about it score higher than one about the opposite action?
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

import torch

from mmn_index import checkpoint
from mmn_index.clips import stored_pre_clips
from mmn_index.evaluation.annotations import read_annotations
from mmn_index.features import FeatureFile
from mmn_index.scoring import Embeddings, cosines


@torch.inference_mode()
def main(model_path: str, features_path: str, annotations_path: str, opposites_path: str) -> None:
    model = checkpoint.load(model_path)
    opposites = json.loads(Path(opposites_path).read_text(encoding="utf-8"))
    videos = read_annotations(annotations_path).videos
    moments, labels, sentences = [], [], []
    with FeatureFile(features_path) as features:
        for video in videos:
            both = model.embed_videos(stored_pre_clips(features, video.video_id, model.config)[None])
            best = model.grid.iou_targets(video.moments, video.duration).argmax(dim=1)
            moments.append(torch.stack([both.contrastive[0, best], both.iou[0, best]]))
            labels += video.labels or ()
            sentences += video.sentences
    contrastive, iou = torch.cat(moments, dim=1)
    c, i = cosines(model.embed_sentences(sentences), Embeddings(contrastive, iou))
    for name in ("collection", "product"):
        scores = model.score(name)(c, i)
        for question, table in (("moment", scores), ("sentence", scores.T)):
            print(json.dumps({"score": name, "question": question, **shares(table, labels, opposites)}))


def shares(scores: torch.Tensor, labels: list[str], opposites: dict[str, str]) -> dict[str, object]:
    """Share of comparisons that go right, in percent: rows ask, columns answer, both have `labels`."""
    found = defaultdict(list)
    for row, label in enumerate(labels):
        right = [n for n, other in enumerate(labels) if other == label]
        wrong = [n for n, other in enumerate(labels) if other == opposites.get(label)]
        if wrong:
            share = (scores[row, right][:, None] > scores[row, wrong]).double().mean()
            found[" / ".join(sorted((label, opposites[label])))].append(100 * float(share))
    values = [value for pair in found.values() for value in pair]
    pairs = {pair: round(sum(part) / len(part), 1) for pair, part in sorted(found.items())}
    return {"asked": len(values), "right %": round(sum(values) / len(values), 1), "pairs": pairs}


if __name__ == "__main__":
    if len(sys.argv) != 5:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
