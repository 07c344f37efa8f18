"""mmn-index export: moments as clips, as a reel, and as files for other programs."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmn_index.handoff.forms import (
    FORMS,
    ROWS,
    SUBTITLES,
    TIMELINES,
    by_video,
    laid_out,
    rows_as,
    subtitle_files,
    subtitles_as,
    timeline_as,
)

from .hits import nothing
from .left_out import strict_option, tell_left_out
from .numbers import Real
from .output import printable, progress, say
from .question import AskingCommand, Question, check_question, open_question, question_options
from .stopwatch import Stopwatch

if TYPE_CHECKING:
    from mmn_index.handoff.excerpt import Excerpt, Take
    from mmn_index.left_out import LeftOut
    from mmn_index.search import Answer


@dataclass(frozen=True)
class Outputs:
    """What is written, and where.

    Attributes:
        form: one of FORMS; None for none.
        out: its file or folder; None for stdout.
    """

    clips: Path | None
    exact: bool
    padding: float
    form: str | None
    out: Path | None
    reel: Path | None

    @property
    def beside(self) -> Path:
        """The place that a list of what was left out is beside."""
        return self.clips or self.reel or self.out or Path(f"export.{self.form}")


@click.command(cls=AskingCommand)
@question_options
@click.option(
    "--clips",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for one file per moment, copied from the key frame before it. Nothing there is overwritten.",
)
@click.option("--exact", is_flag=True, help="Encode clips again, so that they begin and end with the moment.")
@click.option(
    "--padding",
    type=Real(min=0),
    default=0.0,
    help="Seconds added before and after each clip and reel part.",
)
@click.option(
    "--reel", type=click.Path(path_type=Path, dir_okay=False), help="An mp4 of all moments, with captions."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    help="What else to write: a table, subtitles, or a time line for editors.  [default: the suffix of -o]",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="File to write; stdout if not given. For subtitles of several videos, a folder.",
)
@strict_option
def export(
    query: str | None,
    root: Path,
    queries: Path | None,
    device: str,
    clips: Path | None,
    exact: bool,
    padding: float,
    reel: Path | None,
    form: str | None,
    out: Path | None,
    strict: bool,
    **options: Any,
) -> None:
    """Find the moments that QUERY describes, as `search` does, and write them for other programs.

    \b
    Example:
        mmn-index export "person opens door" --clips doors --exact --padding 1
        mmn-index export "person opens door" -o doors.edl
        mmn-index export "person opens door" -k 20 --reel doors.mp4
        mmn-index export --queries sentences.txt --format csv > moments.csv
    """
    click.get_current_context().ensure_object(Stopwatch).lap("to start")
    check_question(query, queries, options)
    outputs = Outputs(clips, exact, padding, form or _form(out), out, reel)
    _check_outputs(outputs)
    question = open_question(query, root, queries, device, options)
    answers = question.answers()
    if not any(answer.hits for answer in answers):
        say(_why_nothing(question, answers))
    left_out = _write(outputs, question, answers, strict)
    tell_left_out(left_out, outputs.beside)


def _form(out: Path | None) -> str | None:
    """The format that a name's suffix says."""
    suffix = "" if out is None else out.suffix.removeprefix(".").lower()
    return suffix if suffix in FORMS else None


def _check_outputs(outputs: Outputs) -> None:
    """Refuse what cannot be written, before the search."""
    from mmn_index.handoff.otio import check_installed
    from mmn_index.handoff.reel import check_reel
    from mmn_index.places import check_file, check_folder

    if outputs.form == "otio":
        check_installed()
    context, form, out = click.get_current_context(), outputs.form, outputs.out
    if not (outputs.clips or outputs.reel or form or out):
        raise click.UsageError("Give at least one of --clips, --reel, --format.", context)
    if out is not None and form is None:
        raise click.UsageError(
            f"-o {printable(str(out))}: expected a name that ends in .{', .'.join(FORMS)}; or --format "
            f"{' or '.join(SUBTITLES)}, and the name of a folder.",
            context,
        )
    if outputs.exact and not outputs.clips:
        raise click.UsageError("--exact is how --clips are cut.", context)
    if outputs.padding and not (outputs.clips or outputs.reel):
        raise click.UsageError("--padding is for --clips and --reel.", context)
    if outputs.clips:
        check_folder(outputs.clips)
    if outputs.reel:
        if outputs.reel.suffix.lower() != ".mp4":
            raise click.UsageError("--reel is the name of an mp4 file, such as reel.mp4.", context)
        check_file(outputs.reel)
        check_reel(outputs.reel)
    if out is None:
        return
    if out.suffix.lower() == f".{form}" and not out.is_dir():
        check_file(out, regular=False)
    elif form in SUBTITLES:
        check_folder(out)
    else:
        raise click.UsageError(f"-o is the name of a file that ends in .{form}.", context)


def _why_nothing(question: Question, answers: "Sequence[Answer]") -> str:
    if answers[0].moments and answers[0].refused is not None:
        return f"no match: the best moment has a confidence of {answers[0].refused:.2f}."
    return nothing(question.index)


def _write(
    outputs: Outputs, question: Question, answers: "Sequence[Answer]", strict: bool
) -> "list[LeftOut]":
    """All outputs in turn; returns what is in none or not in all of them."""
    from mmn_index.errors import VideoError
    from mmn_index.handoff.excerpt import excerpts, takes
    from mmn_index.left_out import refuse

    found = excerpts(question.index, answers)
    left_out: list[LeftOut] = []
    chosen: list[Take] = []
    if outputs.clips or outputs.reel or outputs.form in TIMELINES:
        chosen, left_out = takes(found)
        if strict:
            refuse(left_out, VideoError)
    if outputs.form is not None:
        _write_format(outputs, question, answers, found, chosen)
    if outputs.clips:
        left_out += _write_clips(outputs, chosen, several=question.several)
    if outputs.reel:
        left_out += _write_reel(outputs, chosen)
    left_out = list({one.why: one for one in left_out}.values())
    if strict:
        refuse(left_out, VideoError)
    return left_out


def _write_clips(outputs: Outputs, chosen: "Sequence[Take]", *, several: bool) -> "list[LeftOut]":
    from mmn_index.handoff.clips import write_clips

    assert outputs.clips is not None
    with progress("cutting clips") as report:
        made, left_out = write_clips(
            chosen,
            outputs.clips,
            exact=outputs.exact,
            padding=outputs.padding,
            several=several,
            report=report,
        )
    for clip in made:
        if clip.earlier is None:
            say(f"{clip.path}: is there already.")
        elif clip.earlier >= 0.05:
            say(f"{clip.path}: begins {clip.earlier:.1f} s earlier, at a key frame.")
        else:
            say(str(clip.path))
    if made and not outputs.exact and any(clip.earlier for clip in made):
        say("--exact cuts clips to the moment.")
    return left_out


def _write_reel(outputs: Outputs, chosen: "Sequence[Take]") -> "list[LeftOut]":
    from mmn_index.handoff.reel import write_reel

    assert outputs.reel is not None
    if not chosen:
        say(f"{outputs.reel}: is not written, as there is nothing to join.")
        return []
    with progress("joining the reel") as report:
        left_out = write_reel(chosen, outputs.reel, padding=outputs.padding, report=report)
    say(f"{outputs.reel}: {len(chosen) - len(left_out):,} moments.")
    return left_out


def _write_format(
    outputs: Outputs,
    question: Question,
    answers: "Sequence[Answer]",
    found: "Sequence[Excerpt]",
    chosen: "Sequence[Take]",
) -> None:
    form, out = str(outputs.form), outputs.out
    if form in SUBTITLES:
        _write_subtitles(form, out, found)
    elif form in ROWS:
        from mmn_index.handoff.records import record

        rows = [
            record(question.index, answer, hit, question.score.name)
            for answer in answers
            for hit in answer.hits
        ]
        _put(rows_as(form, rows), out)
    else:
        timeline = laid_out(chosen, [answer.query for answer in answers])
        _put(timeline_as(form, timeline), out)
        if timeline.mixed:
            say(
                f"The time line has {float(timeline.base.rate):.6g} frames per second. Some files have other "
                "rates; source times count their own frames."
            )


def _write_subtitles(form: str, out: Path | None, found: "Sequence[Excerpt]") -> None:
    """Of one video a file; of several a folder with a file for each."""
    from mmn_index.errors import OutputError

    if out is not None and (out.is_dir() or out.suffix.lower() != f".{form}"):
        for name, text in subtitle_files(form, found).items():
            _put(text, out / name)
    elif len(videos := by_video(found)) > 1:
        raise OutputError(
            f"{'stdout' if out is None else out}: subtitles are of one video, and these moments are of "
            f"{len(videos):,}. Name a folder with -o for a file per video, or one video with --video."
        )
    else:
        _put(subtitles_as(form, found), out)


def _put(text: str, out: Path | None) -> None:
    """Write a file, or to stdout; what a terminal would obey is escaped there.

    Raises:
        OutputError: it cannot be written.
    """
    from mmn_index.errors import OutputError
    from mmn_index.places import aside

    if out is None:
        shown = sys.stdout is not None and sys.stdout.isatty()
        lines = text.split("\n") if shown else []
        click.echo("\n".join(printable(line) for line in lines) if shown else text, nl=False)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.exists() and not out.is_file():  # a pipe or a device
            out.write_text(text, encoding="utf-8", errors="backslashreplace")
            return
        with aside(out) as unfinished:
            unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({error.strerror or error}). Choose another place."
        ) from error
    say(f"{out}: written.")
