"""The moment index on disk: immutable segments under one manifest; its only writer and its only reader.

collection.mmn/
  manifest.json          what belongs to the index; replaced in one rename, so readers never see half of
                         a write
  model-<fingerprint>/   a copy of the checkpoint that made it, for the queries
  bank-<digest>.parquet  sentences that moments were measured against, where there is one
  segments/<id>/         moments.parquet, videos.parquet, embeddings.npy, background.npy; beside a bank
                         hubs.npy; in large segments vectors.faiss; of tubes tubes.parquet, boxes.parquet
"""

from .candidates import Candidates as Candidates
from .manifest import BankAbout as BankAbout
from .manifest import CandidateAbout as CandidateAbout
from .manifest import Manifest as Manifest
from .manifest import SegmentEntry as SegmentEntry
from .manifest import ShardAbout as ShardAbout
from .segment_tubes import MomentTube as MomentTube
from .segment_tubes import PlannedTube as PlannedTube
from .segment_writer import PlannedVideo as PlannedVideo
from .segment_writer import SegmentWriter as SegmentWriter
from .selection import Part as Part
from .selection import Restriction
from .store import IndexedVideo, MomentIndex
from .writer import IndexWriter as IndexWriter

# What is stable (docs/compatibility.md); the other names are for the rest of mmn-index.
__all__ = ["IndexedVideo", "MomentIndex", "Restriction"]
