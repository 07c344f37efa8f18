"""One sentence in, the moments (start, end) out, across every video of a collection."""
