"""mmn-index tubes: people in video files, as boxes over time with features."""

from pathlib import Path

import click

from .left_out import strict_option, tell_left_out
from .numbers import Real
from .output import progress, say


@click.command()
@click.argument("videos", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="HDF5 file to write or to extend.",
)
@click.option(
    "--boxes",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Tubes that another program found (json), instead of a detector.",
)
@click.option(
    "--detector",
    help="Object detector that knows people (RT-DETR, DETR, YOLOS ...): hub id or local directory.",
)
@click.option(
    "--detector-rate",
    type=Real(0, min_open=True),
    default=5.0,
    show_default=True,
    help="Frames per second that the detector sees.",
)
@click.option(
    "--threshold",
    type=Real(0, 1),
    default=0.5,
    show_default=True,
    help="Boxes with a lower score are ignored.",
)
@click.option(
    "--backbone",
    default="pixels",
    show_default=True,
    help="What describes the tubes: 'pixels' (no weights), or a model: hub id or local directory.",
)
@click.option("--device", default="cpu", show_default=True, help="Where detector and backbone run.")
@click.option("--prefix", default="", help="Text before each video's id, such as 'camB/'.")
@strict_option
def tubes(
    videos: tuple[Path, ...],
    out: Path,
    boxes: Path | None,
    detector: str | None,
    detector_rate: float,
    threshold: float,
    backbone: str,
    device: str,
    prefix: str,
    strict: bool,
) -> None:
    """Find the people of VIDEOS, files or folders of files, and describe each over time.

    A tube is one person's boxes from when the person is first seen to when the person is last seen. It is
    described twice, by the pictures cut to its boxes and by the whole pictures. Tubes are what
    `mmn-index train --config stvg-corrected` trains on.

    Run it again after an interruption, or with more videos: it does what is missing.

    \b
    Examples:
        mmn-index tubes archive/ -o tubes.h5 --detector PekingU/rtdetr_r18vd
        mmn-index tubes world/train -o tubes.h5 --boxes world/train-detected.json
    """
    if (boxes is None) == (detector is None):
        raise click.UsageError("Say where the boxes come from: --detector MODEL or --boxes FILE.")
    from mmn_index.index_build.boxes import read_boxes
    from mmn_index.index_build.tubes import make_tubes

    from mmn_index.video.backbones import load_backbone
    from mmn_index.video.detector import Detector

    given = None if boxes is None else read_boxes(boxes)
    find = None if detector is None else Detector(detector, device, threshold)
    model = load_backbone(backbone, "cpu" if backbone == "pixels" else device)
    with progress("describing tubes") as report:
        result = make_tubes(
            videos,
            out,
            model,
            boxes=given,
            detector=find,
            detector_rate=detector_rate,
            found_by=f"{detector} {threshold:g}",
            prefix=prefix,
            strict=strict,
            report=report,
        )
    for remark in result.remarks:
        say(remark)
    say(f"{out}: tubes of {result.made:,} videos were made, {result.skipped:,} were there already.")
    tell_left_out(result.left_out, out)
