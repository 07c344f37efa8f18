"""Files of sentences: a line each, or an annotation file."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmn_index.readable import reason

from .output import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmn_index.evaluation.annotations import Annotations, Length
    from mmn_index.evaluation.queries import Corpus
    from mmn_index.left_out import LeftOut
    from mmn_index.moment_model import MomentModel


def read_split(path: Path, length: "Length | None" = None, *, estimate: bool = False) -> "Annotations":
    """An annotation file, as `read_annotations`; what was not taken as it is written is said.

    Raises:
        AnnotationError: it cannot be read, or holds none.
    """
    from mmn_index.evaluation.annotations import read_annotations

    split = read_annotations(path, length, estimate=estimate)
    for remark in split.remarks:
        say(remark)
    return split


def searchable_split(
    path: Path, corpus: "Corpus", root: Path, *, strict: bool
) -> "tuple[Annotations, list[LeftOut]]":
    """The videos of an annotation file that an index has, and those that are left out.

    Raises:
        AnnotationError: the file cannot be used, or a video cannot and it is strict.
    """
    from mmn_index.errors import AnnotationError
    from mmn_index.evaluation.usable import searchable
    from mmn_index.left_out import refuse

    split, left_out = searchable(read_split(path, corpus.lengths.get), corpus.lengths, root)
    if strict:
        refuse(left_out, AnnotationError)
    return split, left_out


def fitting(split: "Annotations", model: "MomentModel") -> "Annotations":
    """A split with sentences as long as a model reads; how many are cut is said."""
    cut = split.worded(model.shortened)
    if cut.cut:
        say(cut.cut_remark)
    return cut


def fitting_lines(lines: "Sequence[str]", model: "MomentModel", where: str) -> list[str]:
    """Sentences as long as a model reads; how many are cut is said."""
    cut = model.shortened(lines)
    if count := sum(a != b for a, b in zip(lines, cut, strict=True)):
        say(f"{where}: {count:,} sentences are longer than the text encoder reads, and are cut.")
    return cut


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, - for stdin; empty ones are no sentences.

    Raises:
        QueryError: it cannot be read, or holds none.
    """
    from mmn_index.errors import QueryError

    try:
        # As bytes: stdin's own decoding depends on the locale. The mark that some editors begin a file with
        # is no word.
        if str(path) != "-":
            content = path.read_bytes()
        elif sys.stdin is None:  # closed, as daemons close it
            raise OSError("it is closed")
        else:
            content = sys.stdin.buffer.read()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise QueryError(
            f"{'stdin' if str(path) == '-' else path}: cannot be read ({reason(error)}). Expected a text "
            "file with a sentence a line."
        ) from error
    # Not splitlines, which ends a line at form feeds and at separators of Unicode as well.
    lines = re.split(r"\r\n|\n|\r", text)
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise QueryError(f"{'stdin' if str(path) == '-' else path}: holds no sentence, expected one a line.")
    return found


def read_sentences(path: Path) -> list[str]:
    """All sentences of an annotation file (.json, .jsonl, or a Charades-STA list), or the lines of a text
    file.

    Raises:
        AnnotationError, QueryError: it cannot be read, or holds none.
    """
    from mmn_index.evaluation.annotation_forms import is_list
    from mmn_index.evaluation.annotations import read_annotations

    if path.suffix not in (".json", ".jsonl"):
        lines = read_lines(path)
        if not is_list(lines[0]):
            return lines
    split = read_annotations(path, estimate=True)
    for remark in replace(split, estimated=0).remarks:  # lengths do not matter here
        say(remark)
    return [sentence for video in split.videos for sentence in video.sentences]
