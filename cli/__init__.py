"""The command `mmn-index`."""
