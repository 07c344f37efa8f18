"""Paths as options."""

from pathlib import Path
from typing import Any

import click

from mmn_index.databases.target import is_target


class LocalPath(click.Path):
    """A path that this machine sees. A URL is none: as a path it would become a folder called "s3:"."""

    name = "path"

    def __init__(self, **more: Any) -> None:
        super().__init__(path_type=Path, **more)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and is_target(value):
            self.fail("this is a URL, and the command needs a path.", param, ctx)
        return super().convert(value, param, ctx)
