"""`make dist`: wheel and source distribution of the last commit, in dist/.

Both are built twice, of two checkouts in different folders, and have to be the same byte for byte. Their
content is looked at, and PyPI's own check of their description has to pass. Run it with a Python that has
`build` and `twine`.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IN_WHEEL = (
    "mmn_index/py.typed",
    "mmn_index/server/static/index.html",
    "mmn_index/server/static/app.js",
    "mmn_index/cli/main.py",
    "mmn_index/train/playhouse/room.py",
    "mmn_index/index_build/build.py",
)
IN_SOURCE = (
    "tests/conftest.py",
    "docs/index.md",
    "docs/hooks.py",
    "benchmarks/bench.py",
    "mkdocs.yml",
    "Makefile",
    "constraints.txt",
    "constraints-oldest.txt",
    "CHANGELOG.md",
    "LICENSE",
)


def build(folder: Path, archive: bytes) -> list[Path]:
    """The wheel and the source distribution of a commit, built in a folder."""
    source, target = folder / "source", folder / "dist"
    source.mkdir(parents=True)
    subprocess.run(["tar", "x", "--no-same-permissions"], input=archive, cwd=source, check=True)
    command = [sys.executable, "-m", "build", "--outdir", str(target), str(source)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.exit(done.stdout.decode())
    return sorted(target.iterdir())


def missing(wheel: Path, source: Path) -> list[str]:
    """What should be in them and is not, and what should not be there and is."""
    in_wheel = zipfile.ZipFile(wheel).namelist()
    with tarfile.open(source) as archive:
        in_source = {name.partition("/")[2] for name in archive.getnames()}
    strange = {name.split("/")[0] for name in in_wheel if ".dist-info/" not in name} - {"mmn_index"}
    return [
        *(f"{wheel.name} has no {name}" for name in IN_WHEEL if name not in in_wheel),
        *(f"{source.name} has no {name}" for name in IN_SOURCE if name not in in_source),
        *(f"{wheel.name} would install {name}" for name in sorted(strange)),
    ]


def main() -> None:
    """Build twice, compare, check, and keep one of each."""
    git = ["git", "-C", str(ROOT)]
    archive = subprocess.run([*git, "archive", "HEAD"], stdout=subprocess.PIPE, check=True).stdout
    when = subprocess.run([*git, "log", "-1", "--format=%ct"], stdout=subprocess.PIPE, check=True).stdout
    os.umask(0o022)  # a wheel keeps who may read its files
    os.environ["SOURCE_DATE_EPOCH"] = when.decode().strip()
    with tempfile.TemporaryDirectory() as folder:
        built = build(Path(folder, "one"), archive)
        again = build(Path(folder, "another", "two"), archive)
        digests, others = (
            {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
            for paths in (built, again)
        )
        if digests != others:
            sys.exit(f"two builds of one commit differ:\n{digests}\n{others}")
        if faults := missing(*built):
            sys.exit("\n".join(faults))
        subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *map(str, built)], check=True)
        shutil.rmtree(ROOT / "dist", ignore_errors=True)
        shutil.copytree(built[0].parent, ROOT / "dist")
    for name, digest in digests.items():
        sys.stdout.write(f"{digest}  dist/{name}\n")


if __name__ == "__main__":
    main()
