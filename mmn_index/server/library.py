"""The indexes that a server answers from, each in its newest version.

A request takes the version that is there when it arrives, and keeps it to its end: what is open stays
readable when a newer version replaces its files.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, MmnIndexError
from ..index import MomentIndex
from ..index.manifest import NAME
from ..models import load_model
from ..moment_model import MomentModel
from .problems import RequestError

_log = logging.getLogger(__name__)
Opener = Callable[[Path], MomentIndex]  # opens the newest version of an index


@dataclass(frozen=True)
class Opened:
    """One version of an index, and the model that embeds its sentences."""

    name: str
    index: MomentIndex
    model: MomentModel

    @property
    def version(self) -> int:
        return self.index.version


class Shelf:
    """An index that may be changed by other processes.

    Attributes:
        root: its directory.
        opened: the newest version that could be opened.
        trouble: why a newer one could not be opened, in one line; None where there is none.

    Raises:
        MmnIndexError: it cannot be opened, or its model not be loaded.
    """

    def __init__(self, name: str, root: Path, device: str, open_index: Opener) -> None:
        self.name, self.root, self._device, self._open = name, root, device, open_index
        self.trouble: str | None = None
        self._seen = self._look()
        index = open_index(root)
        self.opened = Opened(name, index, load_model(index.model_path, device))

    def refresh(self) -> bool:
        """Open a newer version if there is one; whether there was one that could be opened."""
        seen = self._look()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            index = self._open(self.root)
            # The model is a part of the index, of which most changes touch no file.
            same = index.model_path == self.opened.index.model_path
            model = self.opened.model if same else load_model(index.model_path, self._device)
        except MmnIndexError as error:
            if self.trouble != str(error):
                _log.error("%s: still version %d: %s", self.name, self.opened.version, error)
            self.trouble = str(error)
            return False
        self.trouble = None
        self.opened = Opened(self.name, index, model)
        _log.info("%s: version %d", self.name, index.version)
        return True

    def _look(self) -> tuple[int, int, int] | None:
        """What tells two versions apart without reading them."""
        try:
            about = os.stat(self.root / NAME)
        except OSError:
            return None
        return about.st_ino, about.st_mtime_ns, about.st_size


class Library:
    """Several indexes by name.

    Args:
        roots: directories of indexes; each is named by its folder, without `.mmn`.
        device: where the text encoder runs, and scans, unless `open_index` says otherwise.
        open_index: how an index is opened; None searches it in this process.

    Raises:
        ConfigError: two have the same name.
        MmnIndexError: one cannot be opened.
    """

    def __init__(self, roots: Sequence[Path], device: str = "cpu", open_index: Opener | None = None) -> None:
        self.shelves: dict[str, Shelf] = {}
        opener = open_index or (lambda root: MomentIndex(root, device))
        for root in roots:
            name = root.resolve().name.removesuffix(".mmn")
            if name in self.shelves:
                raise ConfigError(
                    f"two indexes are called '{name}', the second is {root}. Give each folder another name."
                )
            self.shelves[name] = Shelf(name, root, device, opener)

    def without_paths(self, said: str) -> str:
        """A message as callers may read it: with the names of indexes in place of where they are."""
        for shelf in sorted(self.shelves.values(), key=lambda shelf: -len(str(shelf.root))):
            said = said.replace(str(shelf.root), shelf.name)
        return said

    def find(self, name: str | None) -> Opened:
        """The newest version of an index; of the only one where no name is given.

        Raises:
            RequestError: 404, there is none of that name, or several and no name.
        """
        if name is None and len(self.shelves) == 1:
            return next(iter(self.shelves.values())).opened
        if name is None or name not in self.shelves:
            known = ", ".join(self.shelves)
            which = "which index is meant is not said" if name is None else f"there is no index '{name}'"
            raise RequestError(404, f"{which}; there are {known}.")
        return self.shelves[name].opened
