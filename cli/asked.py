"""The options of `mmn-index eval` as they were given, and which of them do not go together."""

import os
from dataclasses import dataclass
from pathlib import Path

import click

from .paths import is_typed


@dataclass(frozen=True)
class Asked:
    """The options as they were given."""

    subject: Path | None
    dataset: str | None
    data: Path | None
    features: Path | None
    annotations: Path | None
    corpus: bool
    root: Path
    seen: Path | None
    folder: Path | None
    write_predictions: Path | None
    predictions: Path | None
    metric: str | None
    mvmr: Path | None
    compare: tuple[Path, Path] | None
    score: str | None
    hub: float | None
    nms: float | None
    points: float | None
    everything: bool
    as_json: bool
    device: str
    strict: bool

    @property
    def indexed(self) -> bool:
        """Whether the argument is an index."""
        # os.path asks without an error for a path that nobody may look at.
        return self.subject is not None and os.path.isfile(self.subject / "manifest.json")

    @property
    def model(self) -> Path | None:
        """The argument, where it is no index."""
        return None if self.indexed else self.subject

    @property
    def over(self) -> bool:
        """Whether all sentences are searched in an index as a whole."""
        named = self.annotations or self.dataset  # else --mvmr names the sentences
        return self.corpus or (self.indexed and (self.mvmr is None or named is not None))

    @property
    def index(self) -> Path:
        """The index that is searched."""
        return self.subject if self.indexed and self.subject is not None else self.root

    def unused(self, *names: str) -> str:
        """Those of some options that were given, to be named in an error."""
        given = (name for name in names if getattr(self, name) is not None)
        return ", ".join(f"--{name.replace('_', '-')}" for name in given)


def only(option: str, looked_at: set[str], what: str) -> None:
    """Refuse every other option beside one that looks at few.

    Raises:
        click.UsageError: another one was given.
    """
    if left := [
        parameter.opts[-1] if isinstance(parameter, click.Option) else "INDEX|MODEL"
        for parameter in click.get_current_context().command.params
        if parameter.name not in looked_at and is_typed(parameter.name or "")
    ]:
        raise click.UsageError(f"{option} {what}: leave out {', '.join(left)}.")


def two_files(asked: Asked) -> tuple[Path, Path]:
    """Of --metric: the right answers and the predictions; nothing else is looked at.

    Raises:
        click.UsageError: one is missing, or something else was given.
    """
    if asked.annotations is None or asked.predictions is None:
        raise click.UsageError("--metric scores --predictions FILE against --annotations FILE: give both.")
    looked_at = {"metric", "annotations", "predictions", "as_json", "folder", "everything"}
    only("--metric", looked_at, "scores two files and looks at nothing else")
    return asked.annotations, asked.predictions


def check_usage(asked: Asked) -> None:
    """Refuse options that nothing would look at.

    Raises:
        click.UsageError: it says which, or what to add.
    """
    within, over = asked.subject is not None, asked.over or asked.mvmr is not None
    if not (within or over or asked.predictions):
        raise click.UsageError(
            "Give an INDEX or a MODEL to evaluate, or one of --corpus, --predictions, --mvmr and --compare."
        )
    named = is_typed("root")
    if named and asked.indexed:
        raise click.UsageError(f"{asked.subject} is an index already: leave out --index.")
    if named and not over:
        raise click.UsageError("--index is searched by --corpus and --mvmr: add one of them.")
    if asked.hub is not None and not over:
        raise click.UsageError("--hub corrects over a collection: add --corpus or --mvmr.")
    alone: object = asked.mvmr and not (asked.model or asked.over or asked.predictions)
    if alone and (left := asked.unused("annotations", "features", "seen")):
        raise click.UsageError(
            f"--mvmr is its own annotation file, and its videos are in the index: leave out {left}."
        )
    alone = asked.predictions and not (within or over)
    if alone and (left := asked.unused("features", "score", "nms")):
        raise click.UsageError(f"--predictions are ranked already: leave out {left}.")
    if asked.write_predictions and not (asked.model or asked.over):
        raise click.UsageError(
            "--write-predictions would keep the results of --corpus, or the answers of a model over tubes."
        )
    if asked.points is not None and not (asked.model or asked.indexed):
        raise click.UsageError("--assert-within compares results within videos: give a MODEL.")
