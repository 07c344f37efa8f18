"""The command `mmn-index`."""

import time

BEGUN = time.monotonic()  # Python has just started; whatever takes long is imported later
