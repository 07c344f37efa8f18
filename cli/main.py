"""The command `mmn-index`: a thin layer of one module a verb over the library.

Heavy modules are imported inside the commands, so that `mmn-index --help` answers at once.
"""

import click

from mmn_index._version import __version__
from mmn_index.errors import MmnIndexError

from .build import add, build, update
from .calibrate import calibrate
from .convert import convert
from .evaluate import evaluate
from .extract import extract
from .index import compact, info, remove, verify
from .mine import mine
from .playhouse import playhouse
from .reproduce import reproduce
from .search import search
from .train import train
from .tune_text import tune_text


class Group(click.Group):
    """Shows a MmnIndexError as one line with exit code 1; any other exception is a bug and keeps its
    traceback.
    """

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except MmnIndexError as error:
            raise click.ClickException(" ".join(str(error).split())) from error


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """One sentence in, the moments (start, end) out, across every video of a collection.

    \b
    The way from video files to answers:
        mmn-index extract videos/ -o features.h5
        mmn-index train --annotations train.json --features features.h5 --config mine.yaml -o run
        mmn-index build run/model features.h5 -o collection.mmn
        mmn-index search "person opens door"
    """


for command in (
    playhouse,
    extract,
    train,
    mine,
    tune_text,
    convert,
    evaluate,
    reproduce,
    build,
    add,
    update,
    remove,
    compact,
    info,
    verify,
    calibrate,
    search,
):
    main.add_command(command)
