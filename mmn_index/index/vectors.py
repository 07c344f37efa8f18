"""The candidate index: which moments may have the best inner products. The only module that knows FAISS.

Vectors are [contrastive ; iou], 2 C numbers, kept by a flat index in float16: the same numbers that
the exact scores are computed from, so candidates differ from an exact scan only by float32 summation.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import DependencyError, MomentIndexError


def _faiss() -> ModuleType:
    try:
        import faiss
    except (ImportError, RuntimeError) as error:  # faiss-gpu without its CUDA packages raises RuntimeError
        raise DependencyError(
            f"FAISS cannot be imported ({error}). Install one of `pip install 'mmn-index[cpu]'` and `pip install 'mmn-index[gpu]'`."
        ) from error
    if not hasattr(faiss, "IndexScalarQuantizer"):  # what is left after one of two FAISS packages was uninstalled
        raise DependencyError("the installed FAISS is empty. Uninstall faiss-cpu and faiss-gpu, then install one of them.")
    return faiss


class VectorWriter:
    """Fill a candidate index of `width` numbers a vector, block by block."""

    def __init__(self, width: int) -> None:
        faiss = _faiss()
        self._index = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)

    def add(self, vectors: np.ndarray) -> None:
        """Append (n, width) vectors; their rows follow the ones before."""
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))

    def write(self, path: Path) -> None:
        """Write vectors.faiss."""
        try:
            _faiss().write_index(self._index, str(path))
        except RuntimeError as error:  # FAISS's form of a full disk
            raise OSError(str(error)) from error


class Vectors:
    """Search in a candidate index.

    Raises:
        MomentIndexError: the file cannot be read as a FAISS index.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._index: Any = _faiss().read_index(str(path))
        except RuntimeError as error:
            raise MomentIndexError(
                f"{path}: cannot be read as a FAISS index ({str(error).splitlines()[0]}). Build it again."
            ) from error

    @property
    def count(self) -> int:
        """Stored vectors."""
        return int(self._index.ntotal)

    @property
    def width(self) -> int:
        """Numbers a vector."""
        return int(self._index.d)

    def best(self, queries: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """The largest inner products: (Q, width) -> values (Q, n) float32 and rows (Q, n) int64, n = min(limit, count)."""
        values, rows = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), min(limit, self.count))
        return values, rows
