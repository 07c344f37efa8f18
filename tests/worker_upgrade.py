"""Kills `mmn-index upgrade` before calls that change files, and looks at what it leaves; see test_formats.py.

python worker_upgrade.py INDEX FOLDER EVERY

Each EVERY-th call is one to die at. A line of JSON is printed for every kill: the call, and what is wrong.
"""

import json
import shutil
import signal
import sys
from pathlib import Path

from worker_kills import in_child, run, stepped

from mmn_index.index.manifest import FORMAT, NAME
from mmn_index.index.segment_files import digest

COMMAND = ["upgrade", "{root}"]


def tree(root: Path) -> dict[str, str]:
    """Every file of a folder with its checksum."""
    return {str(path.relative_to(root)): digest(path) for path in root.rglob("*") if path.is_file()}


def killed(stored: Path, root: Path, point: tuple[str, int], new: dict[str, str]) -> str | None:
    """What is wrong after a kill, or after the same command was run again."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(stored, root)
    status, _ = in_child(stepped, "calls", point, COMMAND, root)
    if status != signal.SIGKILL:
        return f"ended with status {status}"
    left, old = tree(root), tree(stored)
    upgraded = json.loads((root / NAME).read_text())["format"] == FORMAT
    lost = [name for name, content in (new if upgraded else old).items() if left.get(name) != content]
    if lost:
        return f"{'new' if upgraded else 'old'} index without {lost}"
    if in_child(run, COMMAND, root)[0]:
        return "cannot be run again"
    return None if upgraded or tree(root) == new else "is another one after the second run"


def main(stored: Path, root: Path, every: int) -> None:
    shutil.copytree(stored, root)
    counts = in_child(stepped, "calls", None, COMMAND, root)[1]
    new = tree(root)
    points = [(name, number) for name, count in counts.items() for number in range(1, count + 1)]
    for point in points[::every]:
        sys.stdout.write(json.dumps([point, killed(stored, root, point, new)]) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
