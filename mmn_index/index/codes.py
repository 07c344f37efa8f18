"""Candidate indexes are made here: trained on a sample, filled with moments, merged.

What training finds, the centres of the lists and the words of the codes, is a Codebook. Segments that are
filled from one codebook can be merged without another training; its digest tells whether they are.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, MomentIndexError
from .vectors import HUB_WIDTH, empty_index, faiss_reason, load_faiss

_BLOCK = 1 << 16  # vectors that are converted to float32 together
_SAMPLE = 24  # training vectors a list
_LEAST = 10_000  # training vectors, however few lists there are: 39 for each of the 256 words of a PQ code
_ITERATIONS = 8  # of k-means; more change recall in the third digit


@dataclass(frozen=True)
class Moments:
    """What the vectors of a segment are made of.

    Attributes:
        embeddings: (n, 2 C) float16, or (n, C) of a model with one space; may be mapped.
        hubs: (n,) float32, h of every row, in an index with a bank.
    """

    embeddings: np.ndarray
    hubs: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return int(self.embeddings.shape[1]) + (0 if self.hubs is None else HUB_WIDTH)

    def vectors(self, rows: np.ndarray | slice) -> np.ndarray:
        """The vectors of some rows, float32."""
        vectors: np.ndarray = self.embeddings[rows].astype(np.float32)
        if self.hubs is None:
            return vectors
        rest = np.zeros((len(vectors), HUB_WIDTH - 1), np.float32)
        return np.concatenate([vectors, self.hubs[rows, None], rest], axis=1)


class Codebook:
    """Centres and codebooks of a candidate index, without any moment.

    Attributes:
        digest: SHA-256 of them.
    """

    def __init__(self, content: np.ndarray) -> None:
        self._content = content  # FAISS's index as bytes
        self.digest = hashlib.sha256(content.tobytes()).hexdigest()

    @classmethod
    def train(cls, factory: str, parts: Sequence[Moments]) -> "Codebook":
        """Train on rows drawn evenly from all moments of all parts.

        Raises:
            ConfigError: the factory string does not fit the width.
        """
        count = sum(map(len, parts))
        try:
            index = empty_index(factory, parts[0].width)
            wanted = min(count, max(_LEAST, _SAMPLE * index.nlist))
            rows = np.sort(np.random.default_rng(0).choice(count, wanted, replace=False))
            index.cp.niter, index.cp.max_points_per_centroid = _ITERATIONS, _SAMPLE
            index.cp.min_points_per_centroid = 1
            if hasattr(index, "do_polysemous_training"):
                index.do_polysemous_training = False  # minutes of sorting words for a search nobody makes
            if isinstance(index, load_faiss().IndexIVFPQFastScan):
                # A code of what a vector has beyond its list's centre is the truer one, and as quick for
                # inner products.
                index.by_residual = True
            index.train(_drawn(parts, rows))
        except RuntimeError as error:
            raise _refused(factory, count, parts[0].width, error) from error
        return cls(load_faiss().serialize_index(index))

    @classmethod
    def of(cls, path: Path) -> "Codebook":
        """That of a candidate index on disk.

        Raises:
            MomentIndexError: it cannot be read.
        """
        index = _read(path)
        index.reset()
        return cls(load_faiss().serialize_index(index))

    def write(self, path: Path) -> None:
        """Keep it in a file, as a candidate index of no moment.

        Raises:
            OSError: the disk refused.
        """
        _write(load_faiss().deserialize_index(self._content), path)

    def fill(self, path: Path, moments: Moments) -> None:
        """Write a candidate index of some moments. The codes are in memory meanwhile; embeddings are read in
        blocks.

        Raises:
            OSError: the disk refused.
        """
        index = load_faiss().deserialize_index(self._content)
        for first in range(0, len(moments), _BLOCK):
            index.add(moments.vectors(slice(first, first + _BLOCK)))
        _write(index, path)


class Joined(Codebook):
    """The codebook of segments whose moments, all of them, follow each other in a new segment: there codes
    are copied.

    Raises:
        MomentIndexError: they have not one codebook, or a file cannot be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        first, *others = [Codebook.of(path).digest for path in paths]
        for path, digest in zip(paths[1:], others, strict=True):
            if digest != first:
                raise MomentIndexError(
                    f"{path}: was trained otherwise than {paths[0]} (codebook {digest[:16]}, expected "
                    f"{first[:16]}), so their codes cannot be joined. Train one for all of their moments."
                )
        self.digest = first

    def fill(self, path: Path, moments: Moments) -> None:
        """Write the candidate index of all segments.

        Raises:
            OSError: the disk refused.
            MomentIndexError: the segments have more moments, or fewer.
        """
        index = _read(self._paths[0])
        for other in self._paths[1:]:
            index.merge_from(_read(other), index.ntotal)
        if index.ntotal != len(moments):
            raise MomentIndexError(
                f"{self._paths[0].parent}: the segments hold {index.ntotal:,} codes, expected "
                f"{len(moments):,}. The index is damaged; build it again."
            )
        _write(index, path)


def write_vectors(
    path: Path,
    embeddings: np.ndarray,
    factory: str,
    hubs: np.ndarray | None = None,
    codebook: Codebook | None = None,
) -> str:
    """Fill the candidate index of all rows, (n, 2 C) float16, with h of every row where there is one, and
    write it. Returns the digest of its codebook.

    Args:
        codebook: what it shares with other segments; None trains one on these rows.

    Raises:
        OSError: the disk refused.
        ConfigError: the factory string does not fit the width.
    """
    moments = Moments(embeddings, hubs)
    codebook = codebook or Codebook.train(factory, [moments])
    codebook.fill(path, moments)
    return codebook.digest


def _drawn(parts: Sequence[Moments], rows: np.ndarray) -> np.ndarray:
    """Vectors of rows that are counted through all parts, in rising order."""
    edges = np.cumsum([0, *map(len, parts)])
    cuts = np.searchsorted(rows, edges)
    own = (rows[a:b] - first for a, b, first in zip(cuts, cuts[1:], edges, strict=False))
    return np.concatenate([part.vectors(some) for part, some in zip(parts, own, strict=True)])


def _read(path: Path) -> Any:
    try:
        return load_faiss().read_index(str(path))
    except RuntimeError as error:
        raise MomentIndexError(
            f"{path}: cannot be read as a FAISS index ({faiss_reason(error)}). The index is damaged; build "
            "it again."
        ) from error


def _write(index: Any, path: Path) -> None:
    faiss = load_faiss()
    path.unlink(missing_ok=True)  # under another name it may belong to an index
    with path.open("wb") as file:  # FAISS's own writing prints what a full disk says
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def _refused(factory: str, count: int, width: int, error: RuntimeError) -> ConfigError:
    return ConfigError(
        f"FAISS cannot make '{factory}' of {count:,} vectors of width {width} ({faiss_reason(error)})."
    )
