"""Holds an index for writing until it is killed; see test_concurrency.py.

python worker_holder.py INDEX
"""

import sys
import time
from pathlib import Path

from mmn_index.index import IndexWriter

if __name__ == "__main__":
    with IndexWriter(Path(sys.argv[1])):
        sys.stdout.write("held\n")
        sys.stdout.flush()
        time.sleep(600)
