"""What setup.cfg cannot say: a commit gives the same source distribution wherever and whenever it is built.

The wheel is made of it; setuptools makes that reproducible by itself where SOURCE_DATE_EPOCH is set and the
umask is the same.
"""

import gzip
import io
import os
import tarfile

from setuptools import setup
from setuptools.command.sdist import sdist


class Reproducible(sdist):
    """Writes the archive anew, without who built it when, in which order, and with which umask."""

    def make_distribution(self) -> None:
        """Make the archives, then the same with SOURCE_DATE_EPOCH for every time in them."""
        super().make_distribution()
        if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
            for path in self.archive_files:
                _rewrite(path, int(epoch))


def _rewrite(path: str, epoch: int) -> None:
    plain = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            member.mtime, member.pax_headers = epoch, {}
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    with (
        open(path, "wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=epoch) as packed,
    ):
        packed.write(plain.getvalue())


setup(cmdclass={"sdist": Reproducible})
