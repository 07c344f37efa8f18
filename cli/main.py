"""The command `mmn-index`: a thin layer of one module per verb over the library.

Heavy modules are imported inside the commands, so that `mmn-index --help` answers at once.
"""

import os
from collections.abc import Sequence
from typing import Any

import click

from mmn_index._version import __version__
from mmn_index.errors import MmnIndexError
from mmn_index.readable import typed

from . import BEGUN
from .build import add, build, update
from .calibrate import calibrate
from .convert import convert
from .doctor import doctor
from .evaluate import evaluate
from .export import export
from .extract import extract
from .index import compact, info, remove, verify
from .mine import mine
from .output import printable, say, streams
from .playhouse import playhouse
from .publish import publish
from .push import push
from .reproduce import reproduce
from .search import search
from .serve import serve
from .stopwatch import Stopwatch
from .sync import sync
from .train import train
from .tubes import tubes
from .tune_text import tune_text
from .upgrade import upgrade

# What a person wants to do, and the commands that do it, each with a line that fits into a terminal.
SECTIONS: dict[str, dict[click.Command, str]] = {
    "Find moments": {
        search: "Find the moments that a sentence describes.",
        export: "Write them as clips, a reel, tables or time lines.",
        serve: "Answer searches on a page and over HTTP.",
    },
    "Make an index and keep it up to date": {
        build: "Embed every moment of your videos into a new index.",
        publish: "Make one index of shards that were built apart.",
        sync: "Make an index match your folders.",
        add: "Add videos to an index.",
        update: "Add videos, replacing those already there.",
        remove: "Remove videos from an index.",
        compact: "Merge an index and free what was removed.",
        calibrate: "Fit ranking and confidence to your own sentences.",
        info: "Show what an index holds and how large it is.",
        verify: "Check an index byte by byte.",
        upgrade: "Bring an index of an earlier version up to date.",
        push: "Copy an index to Qdrant or PostgreSQL.",
    },
    "Prepare videos and models": {
        extract: "Compute the features of video files.",
        tubes: "Find the people of video files, as boxes over time.",
        convert: "Convert a checkpoint of the official MMN code.",
        playhouse: "Render the sample world, videos with annotations.",
    },
    "Train": {
        train: "Train an MMN on annotated videos.",
        tune_text: "Tune the text side; existing indexes stay valid.",
        mine: "Find hard negatives to train with.",
    },
    "Evaluate": {
        evaluate: "Measure a model, or an index as a whole.",
        reproduce: "Train and evaluate on a benchmark of the paper.",
    },
    "Get help": {
        doctor: "Show versions, devices and what is wrong.",
    },
}


# What goes on with the work of a command that was interrupted.
_GOES_ON = dict.fromkeys(
    (command.name for command in (build, publish, sync, add, update, push, extract, tubes, reproduce)),
    "the same command",
) | {train.name: "the same command with --resume"}


_WORDS = "mmn_index.words"  # of the command line


def _files_with_a_dash(words: Sequence[str]) -> list[str]:
    """What to say of a file that was taken for an option."""
    files = (word for word in words if word.startswith("-") and os.path.lexists(word))
    return [f"For the file of this name write {typed(word)}." for word in files][:1]


class Group(click.Group):
    """Lists its commands by what a person wants. Shows a MmnIndexError, or that nothing can be printed, as
    one line with exit code 1, and how an interrupted command goes on; any other exception is a bug and keeps
    its traceback.

    A command's context holds a Stopwatch, which runs since Python started; where a program calls `main` with
    arguments, since then.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_WORDS] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except MmnIndexError as error:
            raise click.ClickException(printable(str(error))) from error
        except KeyboardInterrupt:
            how = _GOES_ON.get(ctx.invoked_subcommand)
            if how is None:
                raise
            say("")  # behind the ^C of the terminal
            say(f"Interrupted. What was finished is kept: {how} goes on from there.")
            raise click.exceptions.Exit(1) from None
        except click.ClickException as error:
            lines = [printable(line) for line in error.message.split("\n")]
            if isinstance(error, click.NoSuchOption):
                lines += _files_with_a_dash(ctx.meta[_WORDS])
            error.message = "\n".join(lines)  # type: ignore[misc]
            raise

    def main(self, args: Sequence[str] | None = None, *more: Any, **named: Any) -> Any:
        named.setdefault("obj", Stopwatch(BEGUN if args is None else None))
        with streams():
            return super().main(args, *more, **named)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(name) for name in self.commands)
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{one.name:<{width}}", line) for one, line in commands.items()])


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Search videos for moments: one sentence in, the moments (start, end) out.

    \b
    From a folder of videos to answers:
        mmn-index build ~/Videos
        mmn-index search "a dog jumps into the pool"

    \b
    With a model that you train on annotated moments:
        mmn-index extract videos/ -o features.h5 --backbone laion/CLIP-ViT-B-32-laion2B-s34B-b79K
        mmn-index train --annotations train.json --features features.h5 -o run
        mmn-index build features.h5 --model run/model

    `mmn-index COMMAND -h` explains a command.
    """


for section in SECTIONS.values():
    for command in section:
        main.add_command(command)
