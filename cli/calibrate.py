"""mmn-index calibrate: validation videos to the weights of an index's score and to confidences."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .build import index_option
from .features import feature_options, open_features, usable_split
from .left_out import strict_option, tell_left_out
from .output import print_line, progress, say
from .sentences import fitting
from .table import print_table

if TYPE_CHECKING:
    from mmn_index.index_build.calibration import Tried
    from torch import Tensor

_FEW = 20  # different sentences
_ANSWERED = 0.95  # of the searches for what is there, when thresholds are suggested


@click.command()
@click.argument("features", type=click.Path(path_type=Path))
@index_option
@click.option(
    "--annotations",
    type=click.Path(path_type=Path),
    required=True,
    help="Validation split. Moments of the same label count as right for a sentence; without labels, "
    "moments of the same text.",
)
@click.option("--keep-score", is_flag=True, help="Fit confidences only.")
@click.option("--device", default="cpu", show_default=True)
@feature_options
@strict_option
def calibrate(
    features: Path, root: Path, annotations: Path, keep_score: bool, device: str, strict: bool
) -> None:
    """Fit an index's score and its confidences on validation videos, whose snippets are in FEATURES.

    The videos need not be in the index, and are not added to it. Afterwards every hit has a confidence, the
    probability that it is right, and `search --min-confidence` finds nothing where nothing fits.

    \b
    Example:
        mmn-index calibrate features.h5 --annotations val.json
        mmn-index search "person opens door" --min-confidence 0.5
    """
    from mmn_index.index_build.calibration import chosen, fit_confidence, try_scores, validation_index
    from mmn_index.index_build.change import set_ranking

    from mmn_index.evaluation.queries import indexed, queries_of
    from mmn_index.evaluation.refusal import absent_hits, best_confidence, present_hits, wordings
    from mmn_index.index import MomentIndex
    from mmn_index.models import load_model, model_info, refuse_tubes
    from mmn_index.places import check_folder

    index = MomentIndex(root)
    refuse_tubes(root, "confidences cannot be fitted yet", tubes=index.manifest.tubes)
    check_folder(root)
    model = load_model(index.model_path, device)
    width = model_info(index.model_path).input_dim
    with tempfile.TemporaryDirectory(prefix="mmn-index-") as aside, progress("embedding videos") as report:
        with open_features(features) as opened:
            split, left_out = usable_split(annotations, opened, width, strict=strict)
            durations = {video.video_id: video.duration for video in split.videos}
            held = validation_index(
                index, model, opened, durations, Path(aside) / "validation.mmn", report=report
            )
        corpus = indexed(held)
        queries = queries_of(fitting(split, model), corpus)
        embeddings = model.embed_collection(queries.sentences)
        score = index.manifest.score
        tried = [] if keep_score else try_scores(held, embeddings, queries, report=report)
        if tried:
            score = chosen(tried, score)
        numbers = wordings(queries)
        present = present_hits(held, embeddings, score, queries, numbers)
        absent = absent_hits(held, embeddings, score, queries, corpus, numbers)
    calibration = fit_confidence(present, absent)
    set_ranking(root, score, calibration, index.version)
    if tried:
        _show(tried)
    say(
        f"{root}: score {score.name}, weight {score.weight:g}, hub {score.hub:g}; confidences fitted to "
        f"{calibration.hits:,} hits, calibration error on these {calibration.error:.3f}."
    )
    _suggest(best_confidence(present, calibration), best_confidence(absent, calibration), len(numbers))
    tell_left_out(left_out, annotations)


def _suggest(present: "Tensor", absent: "Tensor", sentences: int) -> None:
    """Say which --min-confidence answers most of what is there."""
    from mmn_index.confidence import rounded_down
    from mmn_index.evaluation.refusal import refused_at

    threshold, refused = refused_at(present, absent, _ANSWERED)
    if sentences < _FEW:
        say(f"{sentences} sentences are few to fit on: expect other confidences from other sentences.")
    say(
        f"--min-confidence {rounded_down(threshold):.3g} answers {_ANSWERED:.0%} of these sentences, and "
        f"refuses {refused:.0%} of them where all that is right for them was taken out."
    )


def _show(tried: list["Tried"]) -> None:
    """Average precision by weight and hub correction."""
    hubs = sorted({one.score.hub for one in tried})
    weights = sorted({one.score.weight for one in tried})
    known = {(one.score.weight, one.score.hub): one.mean for one in tried}
    print_line("average precision on the validation sentences, in percent:")
    rows = [
        [f"weight {weight:g}", *(f"{100 * known[weight, hub]:.1f}" for hub in hubs)] for weight in weights
    ]
    print_table(["", *(f"hub {hub:g}" for hub in hubs)], rows)
