"""One sentence in, the moments (start, end) out, across every video of a collection."""

from ._version import __version__ as __version__

__all__ = ["__version__"]
