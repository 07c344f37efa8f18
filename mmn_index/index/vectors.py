"""The candidate index of a large segment: which moments may have the best inner products. This module and
codes.py, which makes such files, are the only ones that know FAISS.

Vectors are [contrastive ; iou], 2 C numbers, and in an index with a bank [contrastive ; iou ; h ; 0] (codes
of two numbers then give h one of its own), in an inverted file (IVF) with compressed codes: it proposes rows,
quickly and not completely; their scores are computed from embeddings.npy. Smaller segments have none and are
scanned (scan.py), which is exact.

On GPUs FAISS searches plain codes alone (IVF with Flat, SQ or 8-bit PQ codes), returns at most 2,048 rows a
query, and takes a selector of rows without a word and ignores it: there removed videos are left out of what
was found.
"""

import os
import re
import threading
import weakref
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from ..errors import ConfigError, DependencyError, MomentIndexError
from .manifest import CandidateAbout

HUB_WIDTH = 2  # numbers that h takes
_MOST_ON_GPU = 2048  # rows that FAISS finds for a query there
# Of scalar codes. Beside 48 KiB for 1,024 rows and more, their tables find no room in the memory that the
# threads of a block share, and FAISS ends the process (seen with 2,048 on an H200).
_MOST_OF_SCALAR = 512
_TEMPORARY = 1 << 28  # bytes of a GPU that FAISS works in
_AT_WORK = threading.Lock()  # FAISS's resources of a GPU belong to one thread at a time


def check_factory(factory: str) -> None:
    """Whether FAISS knows a factory string, and it is an inverted file.

    Raises:
        ConfigError: it is not. (Moments of a video are near-duplicates: graph indexes lose a part of them.)
    """
    if not re.match(r"IVF\d+", factory):
        raise ConfigError(
            f"'{factory}' is no candidate index: expected exact, ivf-sq8, ivf-pq, ivf-rabitq or a FAISS "
            "factory string that begins with IVF and the number of lists, such as IVF4096,SQ8."
        )
    try:
        index = empty_index(factory, 512)
    except RuntimeError as error:
        raise ConfigError(f"FAISS does not know the index '{factory}' ({faiss_reason(error)}).") from error
    if not hasattr(index, "nlist"):
        raise ConfigError(
            f"'{factory}' is more than an inverted file. Candidates are scored from the embeddings anyway: "
            "leave out what refines them."
        )


def lists_of(factory: str) -> int:
    """How many lists an inverted file has."""
    return int(factory.removeprefix("IVF").split(",")[0].split("_")[0])


def bytes_a_moment(factory: str, width: int) -> float:
    """What an inverted file keeps of one vector: its code and its number."""
    index = empty_index(factory, width)
    return float(index.code_size + 8)


class Vectors:
    """Search in a candidate index; safe from several threads.

    The file is opened at once and read at the first search: codes of millions of moments take seconds to
    read, and whoever adds, removes or looks up needs none. What is open stays readable when another process
    removes it.

    Args:
        count, width: how many vectors of how many numbers it has to hold.

    Raises:
        MomentIndexError: the file is missing; at the first search: it cannot be read as such an index.
    """

    def __init__(self, path: Path, about: CandidateAbout, count: int, width: int) -> None:
        self.about = about
        self._path, self._shape = path, (count, width)
        try:
            self._file = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise MomentIndexError(
                f"{path}: cannot be read ({error.strerror}). The index is damaged; build it again."
            ) from error
        weakref.finalize(self, os.close, self._file)
        self._lock = threading.Lock()
        self._read: tuple[Any, torch.Tensor] | None = None
        self._copy: Any = None  # FAISS's index there

    @property
    def suits_gpus(self) -> bool:
        """Whether FAISS can search such codes on GPUs."""
        return re.fullmatch(r"IVF\d+,(Flat|SQ4|SQ8|SQfp16|PQ\d+(x8)?)", self.about.factory) is not None

    def to(self, devices: Sequence[torch.device]) -> None:
        """Copy the codes to GPUs, cut over all of them; searches then run there.

        Raises:
            ConfigError: FAISS cannot use them, or they have no room.
            MomentIndexError: the file cannot be read as the index that it should be.
        """
        faiss, (index, _) = load_faiss(), self._index
        if not hasattr(faiss, "GpuMultipleClonerOptions"):
            raise ConfigError(
                "the FAISS that is installed knows no GPU. `pip uninstall faiss-cpu`, then install "
                "'mmn-index[gpu]'."
            )
        options = faiss.GpuMultipleClonerOptions()
        # the latter is for PQ of many bytes, whose tables do not fit otherwise
        options.shard, options.useFloat16 = (
            True,
            True,
        )
        numbers = [device.index or 0 for device in devices]
        # goes along; searches of shards take no parameters
        index.nprobe = min(self.about.nprobe, self.lists, _MOST_ON_GPU)
        try:
            with _AT_WORK:
                # Shards are searched by threads at the same time, those on one GPU as well.
                resources = [
                    _resources(number, numbers[:place].count(number)) for place, number in enumerate(numbers)
                ]
                self._copy = faiss.index_cpu_to_gpu_multiple_py(resources, index, options, numbers)
        except RuntimeError as error:
            raise ConfigError(
                f"{self._path}: cannot be copied to GPUs ({faiss_reason(error)}). --device cpu always can."
            ) from error

    @property
    def lists(self) -> int:
        """How many there are to visit."""
        return len(self._index[1])

    @property
    def _index(self) -> tuple[Any, torch.Tensor]:
        """FAISS's index and the centres of its lists, read once."""
        with self._lock:
            if self._read is None:
                self._read = self._read_file()
            return self._read

    def _read_file(self) -> tuple[Any, torch.Tensor]:
        faiss = load_faiss()
        try:
            # Under this name Linux gives what is open, removed or not. Mapped, not read, where the format
            # allows it.
            index = faiss.read_index(
                f"/proc/self/fd/{self._file}", faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
            )
            # Which lists to visit is a product with their centres: torch makes it five times as quickly as
            # FAISS's flat index.
            centres = torch.from_numpy(index.quantizer.reconstruct_n(0, int(index.nlist)))
        except (RuntimeError, AttributeError, MemoryError) as error:
            raise MomentIndexError(
                f"{self._path}: cannot be read as a FAISS index ({faiss_reason(error)}). The index is "
                "damaged; build it again."
            ) from error
        if (found := (int(index.ntotal), int(index.d))) != self._shape:
            raise MomentIndexError(
                f"{self._path}: holds {found[0]} vectors of width {found[1]}, expected {self._shape[0]} of "
                f"{self._shape[1]}. The index is damaged; build it again."
            )
        return index, centres

    def best(
        self, queries: np.ndarray, limit: int, *, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Large inner products.

        Args:
            queries: (Q, width).
            limit: how many at most.
            allowed: (count,) bool; rows that may be found.

        Returns:
            Values (Q, limit) float32, -inf where fewer were found, and rows (Q, limit) int64, -1 there; best
            first.

        Raises:
            MomentIndexError: the file cannot be read as the index that it should be.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if self._copy is not None:
            return self._best_on_gpus(queries, limit, allowed)
        faiss, (index, centres) = load_faiss(), self._index
        parameters = faiss.SearchParametersIVF(nprobe=min(self.about.nprobe, len(centres)))
        if allowed is not None:
            bits = np.packbits(allowed, bitorder="little")
            parameters.sel = faiss.IDSelectorBitmap(len(allowed), faiss.swig_ptr(bits))
        near = (torch.from_numpy(queries) @ centres.T).topk(parameters.nprobe, dim=1)
        products, lists = near.values.numpy(), near.indices.numpy()
        values, rows = np.empty((len(queries), limit), np.float32), np.empty((len(queries), limit), np.int64)
        index.search_preassigned_c(
            len(queries),
            faiss.swig_ptr(queries),
            limit,
            faiss.swig_ptr(lists),
            faiss.swig_ptr(products),
            faiss.swig_ptr(values),
            faiss.swig_ptr(rows),
            False,
            parameters,
        )
        values[rows < 0] = -np.inf
        return values, rows

    def _best_on_gpus(
        self, queries: np.ndarray, limit: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `best`, of at most as many rows a query as FAISS finds there. Rows that are not allowed are
        asked for, too, and left out.
        """
        most = min(_MOST_OF_SCALAR if "SQ" in self.about.factory else _MOST_ON_GPU, self._shape[0])
        share = 1.0 if allowed is None else max(float(allowed.mean()), limit / most)
        for wanted in (min(most, int(limit / share)), most):
            with _AT_WORK:
                found, rows = self._copy.search(queries, wanted)
            out = rows < 0
            if allowed is not None:
                out |= ~allowed[rows]  # of -1 that is another row's, but it is out already
            if wanted == most or (~out).sum(axis=1).min() >= limit:
                break
        order = np.argsort(out, axis=1, kind="stable")[:, :limit]  # what is allowed, still best first
        values = np.full((len(queries), limit), -np.inf, np.float32)
        numbers = np.full((len(queries), limit), -1, np.int64)
        width = order.shape[1]
        gone = np.take_along_axis(out, order, axis=1)
        values[:, :width] = np.where(gone, -np.inf, np.take_along_axis(found, order, axis=1))
        numbers[:, :width] = np.where(gone, -1, np.take_along_axis(rows, order, axis=1))
        return values, numbers


@cache
def _resources(number: int, shard: int) -> Any:
    """What FAISS keeps on a GPU to work with, once a process for each of the shards that a GPU may have."""
    resources = load_faiss().StandardGpuResources()
    resources.setTempMemory(_TEMPORARY)
    return resources


def empty_index(factory: str, width: int) -> Any:
    """An index of FAISS, for inner products, that nothing has been trained for.

    Raises:
        RuntimeError: FAISS does not know it.
        DependencyError: there is no FAISS.
    """
    faiss = load_faiss()
    return faiss.index_factory(width, factory, faiss.METRIC_INNER_PRODUCT)


def faiss_reason(error: Exception) -> str:
    """What FAISS complains of, without the place in its source."""
    return str(error).splitlines()[0].rpartition("Error: ")[2] if str(error) else type(error).__name__


def load_faiss() -> ModuleType:
    """The library.

    Raises:
        DependencyError: it is not installed, or not one of its two packages alone.
    """
    try:
        import faiss
    except (ImportError, RuntimeError) as error:  # faiss-gpu without its CUDA packages raises RuntimeError
        raise DependencyError(
            f"FAISS cannot be imported ({error}). Install one of `pip install 'mmn-index[cpu]'` and `pip "
            "install 'mmn-index[gpu]'`."
        ) from error
    if not hasattr(
        faiss, "IndexScalarQuantizer"
    ):  # what is left after one of two FAISS packages was uninstalled
        raise DependencyError(
            "the installed FAISS is empty. Uninstall faiss-cpu and faiss-gpu, then install one of them."
        )
    return faiss
