"""Paths as options, and whether an option was typed."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mmn_index.databases.target import is_target, parse_target


class LocalPath(click.Path):
    """A path that this machine sees. A URL is none: as a path it would become a folder called "s3:"."""

    name = "path"

    def __init__(self, **more: Any) -> None:
        super().__init__(path_type=Path, **more)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and is_target(value):
            self.fail("this is a URL, and the command needs a path.", param, ctx)
        return super().convert(value, param, ctx)


class IndexPath(LocalPath):
    """The folder of an index, or the URL of a database."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and is_target(value):
            return parse_target(value)
        return super().convert(value, param, ctx)


def is_typed(parameter: str) -> bool:
    """Whether the running command's parameter stands on its command line; a default and a variable of the
    environment do not.
    """
    source = click.get_current_context().get_parameter_source(parameter)
    return source is ParameterSource.COMMANDLINE
