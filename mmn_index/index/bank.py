"""The bank of sentences beside an index, on disk: one Parquet file that the manifest names with its SHA-256.

What the bank says of a moment is arithmetic, and stands in negatives.py.
"""

import hashlib
import io
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ..errors import MomentIndexError
from ..negatives import Bank
from .manifest import BankAbout, sync_folder
from .segment_files import damaged


def write_bank(bank: Bank, root: Path) -> BankAbout:
    """Bring a bank to the disk, in the folder of an index whose manifest does not name it yet."""
    dim = bank.contrastive.shape[1]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(bank.contrastive.cpu().numpy().reshape(-1)), dim)
    aside = root / "bank.tmp"
    pq.write_table(
        pa.table({"sentence": pa.array(bank.sentences, pa.string()), "contrastive": vectors}), aside
    )
    content = aside.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    name = f"bank-{digest[:16]}.parquet"
    aside.replace(root / name)
    sync_folder(root)
    return BankAbout(bank.kind, bank.neighbours, len(bank.sentences), name, len(content), digest)


def read_bank(root: Path, about: BankAbout, tau: float, device: str = "cpu") -> Bank:
    """The bank that a manifest names.

    Raises:
        MomentIndexError: it is missing or damaged: h of new moments would not fit the old ones.
    """
    path = root / about.file
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: no name that a file can have
        raise damaged(path, getattr(error, "strerror", None) or error) from error
    if (found := hashlib.sha256(content).hexdigest()) != about.sha256:
        raise MomentIndexError(
            f"{path}: was changed: SHA-256 {found[:16]}, expected {about.sha256[:16]}. Build the index again."
        )
    try:
        table = pq.read_table(io.BytesIO(content))
        if not len(table) == about.sentences > 0:
            raise ValueError(f"{len(table):,} sentences, the manifest counts {about.sentences:,}")
        vectors = table["contrastive"].combine_chunks()
        contrastive = torch.from_numpy(vectors.flatten().to_numpy().copy()).view(len(table), -1)
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError, pa.ArrowException) as error:
        raise damaged(path, error) from error
    return Bank(
        tuple(table["sentence"].to_pylist()), contrastive.to(device), about.kind, tau, about.neighbours
    )
