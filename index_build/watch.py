"""An index that is kept in step with folders for as long as the process lives.

Whenever something changes there, it waits until that is over and synchronises. It keeps nothing that a
synchronisation would need: killed at any time and started again, it ends in the same index.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mmn_index.errors import DependencyError, MissingError, MmnIndexError

from .sync import Places, Recipe, Report, SyncResult, sync
from .sync_plan import FoundFile, SyncPlan

STILL = 3.0  # seconds that a file has to stay as it is until it counts as complete
_PATIENCE = 30.0  # seconds that changes of some files may keep the others waiting
_LOOK = 600.0  # seconds after which folders are looked through in any case: some file systems report nothing

_State = tuple[int, datetime | None]


class Settling:
    """Tells files that are complete from those that are still being written, by looking at them again and
    again.

    Args:
        still: seconds that size and time have to stay as they are.
    """

    def __init__(self, still: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._still, self._clock = still, clock
        self._seen: dict[Path, tuple[_State, float]] = {}
        self._broken: dict[Path, _State] = {}

    def __call__(self, file: FoundFile) -> bool:
        """Whether a file may be described."""
        state = file.size, file.modified
        if self._broken.get(file.path) == state:
            return False
        known, since = self._seen.get(file.path, (None, 0.0))
        if known != state:
            since = self._clock()
            self._seen[file.path] = state, since
            if known is None and self._is_old(file):
                self._seen[file.path] = state, since - self._still
                return True
        return self._clock() - since >= self._still

    def give_up(self, file: FoundFile) -> None:
        """Until it changes, a file that cannot be read is not tried again."""
        self._broken[file.path] = file.size, file.modified

    def may_settle(self, path: Path) -> bool:
        """Whether it is worth looking at a waiting file again."""
        return path not in self._broken or self._broken[path] != self._seen[path][0]

    def _is_old(self, file: FoundFile) -> bool:
        now = datetime.now(UTC)
        return file.modified is not None and file.modified <= now - timedelta(seconds=self._still)


@dataclass(frozen=True)
class Listener:
    """Who is told what happens.

    Attributes:
        tell: called with what is to be done, before a change of the index.
        done: called after it.
        trouble: called with a line on what went wrong; the watch continues.
        report: see `sync`.
    """

    tell: Callable[[SyncPlan], None] = lambda plan: None
    done: Callable[[SyncResult], None] = lambda result: None
    trouble: Callable[[str], None] = lambda text: None
    report: Report = lambda done, total, note, what: None


def watch(
    root: Path,
    places: Places,
    recipe: Recipe | None = None,
    listener: Listener | None = None,
    *,
    still: float = STILL,
    stop: threading.Event | None = None,
) -> None:
    """Synchronise an index with folders at once, and again whenever something changes there, until `stop`.

    What is refused for safety is not done: videos that seem to be out of reach stay in the index.

    Args:
        still: seconds that a file has to stay as it is until it counts as complete.

    Raises:
        MmnIndexError: the first synchronisation is not possible at all.
        DependencyError: the package `watchfiles` is not installed.
    """
    watchfiles = need_watchfiles()
    watcher = _Watcher(root, places, recipe or Recipe(), listener or Listener(), still)
    watcher.step()
    # What changed between that and the first look of the watch is found as if it had just happened.
    first = last = time.monotonic()
    for changed in _changes(watchfiles, root, places, still, stop or threading.Event()):
        now = time.monotonic()
        if changed:
            first, last = min(first, now), now
        over = now - last >= still or now - first >= _PATIENCE
        if (first < math.inf and over) or now >= watcher.again:
            first = math.inf
            watcher.step()


class _Watcher:
    def __init__(self, root: Path, places: Places, recipe: Recipe, listener: Listener, still: float) -> None:
        self._root, self._places, self._recipe, self._listener = root, places, recipe, listener
        self._settling = Settling(still)
        self._said = ""
        self._first, self._missing = True, False
        self._still = still
        self.again = math.inf  # when to look again though nothing happens

    def step(self) -> None:
        """Synchronise once."""
        began, waits, self._missing = time.monotonic(), True, False
        try:
            waits = self._take(self._sync())
        except MmnIndexError as error:
            if self._first:
                raise
            self._trouble(str(error))
        self._first, now = False, time.monotonic()
        # Looking through a large collection takes its time: it is not to be most of what is done.
        self.again = now + (max(self._still, 10 * (now - began)) if waits or self._missing else _LOOK)

    def _take(self, result: SyncResult) -> bool:
        """Tell of a result; whether looking again soon is worth it."""
        plan, failed = result.plan, {one.what for one in result.left_out}
        for file in (plan.added | plan.changed).values():
            if str(file.path) in failed:
                self._settling.give_up(file)
        if _does_something(plan):
            self._listener.done(result)
            self._said = ""
        return any(self._settling.may_settle(path) for path in plan.waiting)

    def _sync(self) -> SyncResult:
        places = self._places
        try:
            return self._once(places)
        except MissingError as error:
            # It may come back before this has ended, which the watch of what was there would not see.
            self._missing = True
            self._trouble(f"{error} Until then they are kept.")
            return self._once(replace(places, keep_missing=True))

    def _once(self, places: Places) -> SyncResult:
        def tell(plan: SyncPlan) -> None:
            if _does_something(plan):
                waiting = [path for path in plan.waiting if self._settling.may_settle(path)]
                self._listener.tell(replace(plan, waiting=waiting))

        return sync(
            self._root,
            places,
            self._recipe,
            settled=self._settling,
            tell=tell,
            report=self._listener.report,
        )

    def _trouble(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._listener.trouble(text)


def _does_something(plan: SyncPlan) -> bool:
    return bool(plan.added or plan.changed or plan.followed or plan.ended)


def need_watchfiles() -> Any:
    """The package that watches folders.

    Raises:
        DependencyError: it is not installed.
    """
    try:
        import watchfiles
    except ImportError as error:
        raise DependencyError(
            "--watch needs the package watchfiles. Install it: pip install 'mmn-index[watch]'"
        ) from error
    return watchfiles


def _changes(
    watchfiles: Any, root: Path, places: Places, still: float, stop: threading.Event
) -> Iterator[bool]:
    """Whether something changed, every now and then.

    A place that is mounted, unmounted or put in place of another is watched anew, which is a change.
    """
    folder = Path(os.path.abspath(root))
    own = f"{folder}."  # files beside the index

    def matters(_: Any, path: str) -> bool:
        return not (path.startswith(own) or folder in (Path(path), *Path(path).parents))

    pause = max(0.1, still / 3)
    while not stop.is_set():
        here = _identities(places)
        there = [path for path, identity in here.items() if identity is not None]
        if not there:
            stop.wait(pause)
            yield _identities(places) != here
            continue
        try:
            for changes in watchfiles.watch(
                *there,
                watch_filter=matters,
                debounce=int(1000 * pause),
                rust_timeout=int(1000 * pause),
                yield_on_timeout=True,
                stop_event=stop,
                ignore_permission_denied=True,
            ):
                moved = _identities(places) != here
                yield bool(changes) or moved
                if moved:
                    break
        except OSError:  # it went between the look and the watch
            stop.wait(pause)


def _identities(places: Places) -> dict[Path, tuple[int, int] | None]:
    """Which folder or file each place is; None where there is none."""
    found: dict[Path, tuple[int, int] | None] = {}
    for place in places.videos:
        try:
            stat = place.stat()
            found[place] = stat.st_dev, stat.st_ino
        except OSError:
            found[place] = None
    return found
