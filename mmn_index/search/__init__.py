"""Search of an index: sentences, moments or pairs of sentences in, ranked moments out."""

from .engine import search, search_embeddings, search_like
from .options import SearchOptions
from .pairs import Pair, search_pair_embeddings, search_pairs
from .ranking import score_map
from .results import Answer, Evidence, Hit

__all__ = [
    "Answer",
    "Evidence",
    "Hit",
    "Pair",
    "SearchOptions",
    "score_map",
    "search",
    "search_embeddings",
    "search_like",
    "search_pair_embeddings",
    "search_pairs",
]
