"""Search of an index: sentences, moments or pairs of sentences in, ranked moments out."""

from .engine import search, search_like
from .engine import search_embeddings as search_embeddings
from .options import SearchOptions
from .pairs import Pair, search_pairs
from .pairs import search_pair_embeddings as search_pair_embeddings
from .ranking import score_map
from .results import Answer, Evidence, Hit

# What is stable (docs/compatibility.md); the other names are for the rest of mmn-index.
__all__ = [
    "Answer",
    "Evidence",
    "Hit",
    "Pair",
    "SearchOptions",
    "score_map",
    "search",
    "search_like",
    "search_pairs",
]
