"""From videos to an index."""
