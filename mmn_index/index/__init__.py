"""The moment index on disk: immutable segments under one manifest; its only writer and its only reader.

collection.mmn/
  manifest.json          what belongs to the index; replaced in one rename, so readers never see half of
                         a write
  model-<fingerprint>/   a copy of the checkpoint that made it, for the queries
  bank-<digest>.parquet  sentences that moments were measured against, where there is one
  segments/<id>/         moments.parquet, videos.parquet, embeddings.npy, background.npy; beside a bank
                         hubs.npy; in large segments vectors.faiss; of tubes tubes.parquet, boxes.parquet
"""

from .candidates import Candidates
from .manifest import BankAbout, CandidateAbout, Manifest, SegmentEntry, ShardAbout
from .segment_tubes import MomentTube, PlannedTube
from .segment_writer import PlannedVideo, SegmentWriter
from .selection import Part, Restriction
from .store import IndexedVideo, MomentIndex
from .writer import IndexWriter

__all__ = [
    "BankAbout",
    "CandidateAbout",
    "Candidates",
    "IndexWriter",
    "IndexedVideo",
    "Manifest",
    "MomentIndex",
    "MomentTube",
    "Part",
    "PlannedTube",
    "PlannedVideo",
    "Restriction",
    "SegmentEntry",
    "SegmentWriter",
    "ShardAbout",
]
