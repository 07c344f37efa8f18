"""Video files: decoding them, and the backbones that turn frames into snippets."""
