"""The moment index on disk: immutable segments under one manifest; its only writer and its only reader.

collection.mmn/
  manifest.json        what belongs to the index; replaced in one rename, so readers never see half of a write
  model-<fingerprint>/ a copy of the checkpoint that made it, for the queries
  segments/<id>/       moments.parquet, videos.parquet, embeddings.npy, vectors.faiss
"""

from .manifest import Manifest, SegmentEntry
from .segment import IndexedVideo, SegmentWriter
from .store import MomentIndex, Rows, create

__all__ = ["IndexedVideo", "Manifest", "MomentIndex", "Rows", "SegmentEntry", "SegmentWriter", "create"]
