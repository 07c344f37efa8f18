"""The folder of a training run: what it holds while running, after a crash and at its end.

    setting.json    everything the run is made of; a run is resumed with the same or not at all
    metrics.jsonl   a line an epoch
    model/          the checkpoint of the best epoch so far
    state.pt        after each epoch: weights, optimiser, schedule, the best so far; gone at the end
    mined.mmn/      while negatives are mined anew: the index of the training videos
    pre_clips.bin   the training split's pre-clips, memory-mapped; made anew at each start, gone at the end
    result.json     at the end

Files are written aside and renamed, so a killed run leaves the state of an epoch or the next one's, never
half of one. Everything random is derived from the seed, the epoch, the step and the group; there are no
random states to keep.
"""

import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmn_index import checkpoint
from mmn_index.errors import CheckpointError, ConfigError, OutputError
from mmn_index.places import Hold, check_folder
from mmn_index.readable import reason

FORMAT = 1


@dataclass(frozen=True)
class TrainResult:
    """Where a run ended."""

    checkpoint: Path
    epoch: int  # whose weights were kept
    validation: Mapping[str, float] | None  # its R@n,IoU=m in percent
    before: bool = False  # it had ended before it was called for


class RunFolder:
    """The files of one run; a context manager. From `open` to its end no other process trains there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hold: Hold | None = None
        self.model = path / "model"
        self.metrics = path / "metrics.jsonl"
        self.curves = path / "curves.png"
        self.tensorboard = path / "tensorboard"
        self.pre_clips = path / "pre_clips.bin"
        self.mined = path / "mined.mmn"
        self._setting = path / "setting.json"
        self._state = path / "state.pt"
        self._result = path / "result.json"

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        if self._hold is not None:
            self._hold.release()

    def open(self, setting: dict[str, Any], *, resume: bool) -> TrainResult | None:
        """Begin a run, or take up an interrupted one; returns the result of one that is finished already.

        Raises:
            OutputError: there is a run already and `resume` was not said; or other files; or nothing can be
                written; or another process trains here.
            ConfigError: the run to be resumed has another setting.
        """
        if self.path.exists() and not self.path.is_dir():
            raise self._no_run()
        self._hold = Hold(
            self.path,
            f"{self.path}: another process trains in this folder. Wait until it has ended, or choose another "
            "one with -o.",
        )
        if self._setting.is_file():
            if not resume:
                if self._result.is_file():
                    raise OutputError(f"{self.path}: holds a finished run. Choose a new folder with -o.")
                raise OutputError(
                    f"{self.path}: holds an interrupted run. Resume it with --resume, or choose a new folder "
                    "with -o."
                )
            # Through JSON, as tuples come back from the file as lists.
            if different := _differences(json.loads(json.dumps(setting)), _read(self._setting)):
                raise ConfigError(
                    f"{self.path}: its run has another setting ({'; '.join(different)}). Resume with the "
                    "same one."
                )
            if self._result.is_file():
                result = _read(self._result)
                return TrainResult(self.model, result["epoch"], result["validation"])
            checkpoint.recover(self.model)
            return None
        if any(not self._left_over(path) for path in self.path.iterdir()):
            raise self._no_run()
        check_folder(self.path)
        return None

    def _no_run(self) -> OutputError:
        return OutputError(
            f"{self.path}: exists already and holds no run; a training run needs a new or empty folder."
        )

    def _left_over(self, path: Path) -> bool:
        """Whether a run that was stopped before its first step may have left this."""
        return path.name.startswith((self.pre_clips.name, self._setting.name))

    def begin(self, setting: dict[str, Any]) -> None:
        """Say what the run is made of, once all of its input has been read: from here on the folder holds a
        run.
        """
        if not self._setting.is_file():
            _replace(self._setting, json.dumps(setting, indent=1))

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep the state after an epoch.

        Raises:
            OutputError: the disk refused; the state of the epoch before is kept.
        """
        aside = self._state.with_name("state.pt.tmp")
        try:
            with aside.open("wb") as file:
                torch.save({"format": FORMAT, **state}, file)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self._state)
        except (OSError, RuntimeError) as error:  # torch's writer wraps a full disk in a RuntimeError
            aside.unlink(missing_ok=True)
            raise OutputError(
                f"{self._state}: cannot be written ({str(error).splitlines()[0]}). Free some space and go on "
                "with --resume."
            ) from error

    def load(self) -> dict[str, Any] | None:
        """The state after the last whole epoch; None before the first. Tensors and numbers only, no pickled
        objects.

        Raises:
            CheckpointError: it is damaged.
        """
        if not self._state.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self._state, map_location="cpu", weights_only=True)
            if state["format"] != FORMAT:
                raise CheckpointError(
                    f"{self._state}: has format {state['format']}, this version reads format {FORMAT}."
                )
        except (
            pickle.UnpicklingError,
            RuntimeError,
            EOFError,
            OSError,
            ValueError,
            KeyError,
            TypeError,
        ) as error:
            raise CheckpointError(
                f"{self._state}: cannot be read ({str(error).splitlines()[0]}). Begin in a new folder."
            ) from error
        return state

    def log(self, line: Mapping[str, Any]) -> None:
        """Append the metrics of an epoch."""
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise OutputError(
                f"{self.metrics}: cannot be written ({error.strerror}). Go on with --resume."
            ) from error

    def cut_log(self, epoch: int) -> None:
        """Drop the metrics after an epoch: those of one that was finished but whose state was not kept, or
        half a line.
        """
        lines = (
            self.metrics.read_text(encoding="utf-8").splitlines()[:epoch] if self.metrics.is_file() else []
        )
        _replace(self.metrics, "".join(f"{line}\n" for line in lines))

    def finish(self, result: TrainResult) -> None:
        """Write the result and drop what only an unfinished run needs."""
        fingerprint = checkpoint.info(self.model).fingerprint
        kept = {"epoch": result.epoch, "validation": result.validation, "fingerprint": fingerprint}
        _replace(self._result, json.dumps(kept, indent=1))
        self._state.unlink(missing_ok=True)
        self.pre_clips.unlink(missing_ok=True)


def _replace(path: Path, text: str) -> None:
    aside = path.with_name(f"{path.name}.tmp")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be read ({reason(error)}). Begin in a new folder.") from error


def _differences(ours: Mapping[str, Any], theirs: Any) -> list[str]:
    """Where two nested settings differ, as `section.key is x, was y`."""
    found = []
    for section, values in ours.items():
        old = theirs.get(section, {}) if isinstance(theirs, dict) else {}
        if isinstance(values, Mapping) and isinstance(old, Mapping):
            keys = [key for key in {**old, **values} if values.get(key) != old.get(key)]
            found += [f"{section}.{key} is {values.get(key)!r}, was {old.get(key)!r}" for key in keys]
        elif values != old:
            found.append(f"{section} is {values!r}, was {old!r}")
    return found
