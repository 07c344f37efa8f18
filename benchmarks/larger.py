"""What a million and a hundred million hours would take, computed from what was measured.

The collection: videos of ASSUMED["minutes of a video"], each one window of ActivityNet Captions' grid, cut
over as many machines as their memory or disks need. Nothing here was run.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mmn_index.config import ACTIVITYNET
from mmn_index.index.vectors import bytes_a_moment
from mmn_index.proposals import ProposalGrid

HOURS = (1e6, 1e8)
PER_VIDEO = len(ProposalGrid(ACTIVITYNET.num_clips, ACTIVITYNET.pooling_counts))
WIDTH = 2 * ACTIVITYNET.joint_dim
EMBEDDING = 2 * WIDTH  # bytes of a moment
CODE = bytes_a_moment(f"IVF1024,PQ{WIDTH // 2}x4fs", WIDTH)
# Nobody measured these; prices are round ones of large providers.
ASSUMED = {
    "minutes of a video": 2.0,
    "cores of a machine": 64.0,
    "GB of memory of a machine": 512.0,
    "share of that memory for codes": 0.75,
    "TB of disks of a machine": 30.0,
    "GB a second from those disks": 6.0,
    "hours of video that a backbone describes in a GPU hour": 200.0,
    "share of videos that were removed and not yet compacted, %": 1.0,
    "USD a core hour, its share of memory and disks included": 0.04,
    "USD a GPU hour": 3.0,
    "USD a TB-month of further storage": 20.0,
}
MONTH = 730  # hours


@dataclass(frozen=True)
class Measured:
    """What everything is computed from."""

    scaling: Mapping[str, Any]
    search: Mapping[str, Any]
    embedding: Mapping[str, Any]
    extraction: Mapping[str, Any]
    gpu: Mapping[str, Any]

    @property
    def metadata(self) -> float:
        """Bytes a moment of the tables."""
        own, moments = self.scaling["sizes"][-1]["bytes a moment"], self.scaling["moments a video"]
        of_video = (own["videos.parquet"] + own["windows.parquet"]) * moments
        return float(own["moments.parquet"] + of_video / PER_VIDEO)

    @property
    def heavier(self) -> float:
        """How many times as many bytes a video has here as in the collections that were measured."""
        own = self.scaling["sizes"][-1]["bytes a moment"].values()
        return PER_VIDEO * (EMBEDDING + CODE + self.metadata) / (self.scaling["moments a video"] * sum(own))

    def reaches(self, place: str, limit: float) -> float:
        """Videos at which seconds become `limit`. All of these parts look at every video, so an exponent
        below 1 counts as 1: it comes from what the small collections have in common with the empty one.
        """
        group, name = place.split(" > ")
        last, slope = self.scaling["sizes"][-1], self.scaling["exponents"][place]["exponent"]
        return float(last["videos"] * (limit / last[group][name]) ** (1 / max(1.0, slope)))

    def centres(self, moments: float) -> float:
        """Core hours of training a candidate index and filling it: each moment is compared with 4 times the
        square root of all centres, training with 24 a list and 8 rounds comes on top.
        """
        lists = 2 * math.sqrt(moments)
        products = WIDTH * lists * (moments + 8 * 24 * lists)
        rate = self.scaling["products, multiplications a second"] / self.scaling["machine"]["threads"]
        return products / rate / 3600

    def candidate_ms(self, moments: float) -> float:
        """One query of the candidate index of a machine, from the largest index of search.json on."""
        last = self.search["sizes"][-1]
        slope = max(0.0, self.scaling["exponents"]["searching, s > candidate index, 1 query"]["exponent"])
        return float(last["candidate index, 1 query, ms"] * (moments / last["moments"]) ** slope)

    @property
    def embedded_in_core_hour(self) -> float:
        """Videos."""
        about = self.embedding["activitynet"]["embedding a video"]
        return 3.6e6 / about["ours_ms"] / self.threads

    @property
    def threads(self) -> int:
        return int(self.embedding["machine"]["threads"] if "machine" in self.embedding else 2)

    @property
    def embedded_in_gpu_hour(self) -> float:
        """Videos, from and to the processor, as `build` embeds them."""
        rows = [row for row in self.gpu["figures"] if row["setting"] == "activitynet"]
        old = "from and to the processor, videos a second"
        return next(
            3600 * float(row.get(old) or row["videos embedded a second"])
            for row in rows
            if old in row or row.get("form", "").startswith("as build embeds")
        )


@dataclass(frozen=True)
class Collection:
    """A collection of so many hours."""

    measured: Measured
    hours: float

    @property
    def videos(self) -> float:
        return self.hours * 60 / ASSUMED["minutes of a video"]

    @property
    def moments(self) -> float:
        return self.videos * PER_VIDEO

    @property
    def stored(self) -> float:
        """Bytes on disks: embeddings, codes, tables."""
        return self.moments * (EMBEDDING + CODE + self.measured.metadata)

    @property
    def machines(self) -> int:
        by_memory = self.moments * CODE / (room() * 1e9)
        return math.ceil(max(by_memory, self.stored / (ASSUMED["TB of disks of a machine"] * 1e12)))

    def rows(self) -> dict[str, str]:
        """What it takes, by name."""
        m, per_machine = self.measured, self.moments / self.machines
        cores, gpus = (
            ASSUMED["USD a core hour, its share of memory and disks included"],
            ASSUMED["USD a GPU hour"],
        )
        described = self.hours / ASSUMED["hours of video that a backbone describes in a GPU hour"]
        pixels = self.hours / m.extraction["pixels"]["film_a_processor_second"]
        on_cpu, on_gpu = self.videos / m.embedded_in_core_hour, self.videos / m.embedded_in_gpu_hour
        centres = self.machines * m.centres(per_machine)
        scan = per_machine * EMBEDDING / (ASSUMED["GB a second from those disks"] * 1e9)
        each = ASSUMED["cores of a machine"] * cores * MONTH
        return {
            "videos": said(self.videos),
            "moments": said(self.moments),
            "embeddings, float16": size(self.moments * EMBEDDING),
            "codes of the candidate index, in memory": size(self.moments * CODE),
            "tables": size(self.moments * m.metadata),
            "features by `pixels`": f"{said(pixels)} core hours, {money(pixels * cores)}",
            "features by a network": f"{said(described)} GPU hours (assumed), {money(described * gpus)}",
            "embedding on processors": f"{said(on_cpu)} core hours, {money(on_cpu * cores)}",
            "embedding on GPUs": f"{said(on_gpu)} GPU hours, {money(on_gpu * gpus)}",
            "candidate indexes": f"{said(centres)} core hours, {money(centres * cores)}",
            "machines that hold and search it": f"{self.machines:,}",
            "moments on each": said(per_machine),
            "one query of a machine's candidate index": f"{said(m.candidate_ms(per_machine))} ms",
            "exact scan of a machine's moments from its disks": time(scan),
            "machines, a month": money(self.machines * each),
            "one further copy of everything, a month": money(
                self.stored / 1e12 * ASSUMED["USD a TB-month of further storage"]
            ),
        }


def room() -> float:
    """GB of a machine's memory for codes."""
    return ASSUMED["GB of memory of a machine"] * ASSUMED["share of that memory for codes"]


Limit = tuple[str, str, float, str]  # part, limit, videos at which it is reached, what replaces the part


def breaks(m: Measured) -> list[tuple[str, str, str, str]]:
    """Part, limit, the hours of video at which one index on one machine reaches it, and what replaces it; the
    first to break first.
    """
    per_hour = 60 / ASSUMED["minutes of a video"]
    found = sorted([*_of_time(m), *_of_size(m)], key=lambda row: row[2])
    return [(part, limit, said(videos / per_hour), instead) for part, limit, videos, instead in found]


def _of_time(m: Measured) -> list[Limit]:
    cores = ASSUMED["cores of a machine"]
    return [
        (
            "exact scan",
            "1 s per query, from memory, on the measured machine",
            m.scaling["copy, bytes a second"] / EMBEDDING / PER_VIDEO,
            "the candidate index, which `build` chooses by itself; GPUs",
        ),
        (
            "`sync`, which looks at every file",
            "10 minutes",
            m.reaches("changing, s > sync of unchanged files", 600),
            "`--watch`, or notices of an object store; one folder at a time",
        ),
        (
            "`verify`, which reads all",
            "a day",
            m.reaches("changing, s > verify", 86_400) / m.heavier,
            "one segment at a time; checksums of blocks",
        ),
        (
            "`compact`, which copies all",
            "a day",
            m.reaches("changing, s > compact, without a candidate index", 86_400) / m.heavier,
            "segments of a bounded size, merged by size",
        ),
        (
            "lists of the candidate index, trained and filled on one machine",
            f"a day of {cores:,.0f} cores",
            bisected(m.centres, 24 * cores) / PER_VIDEO,
            "centres in two levels, so that a moment is compared with thousands, not with all; GPUs",
        ),
        (
            "opening, which reads the table of videos",
            "10 s",
            m.reaches("searching, s > opening", 10),
            "columns that are mapped, not read",
        ),
    ]


def _of_size(m: Measured) -> list[Limit]:
    disks = ASSUMED["TB of disks of a machine"]
    share = ASSUMED["share of videos that were removed and not yet compacted, %"] / 100
    return [
        (
            "codes in memory",
            f"{room():,.0f} GB",
            room() * 1e9 / CODE / PER_VIDEO,
            "one index per machine, all asked, their lists merged by score; or codes on fast disks",
        ),
        (
            "embeddings on the disks of one machine",
            f"{disks:,.0f} TB",
            disks * 1e12 / (EMBEDDING + CODE + m.metadata) / PER_VIDEO,
            "the same; coarser grids for old material; one byte per number",
        ),
        (
            "manifest.json, which names removed videos and is written anew at every change",
            "100 MB",
            1e8 / len("    12345678,\n") / share,
            "removed videos as bits in a file of each segment",
        ),
        (
            "numbers of windows in moments.parquet, int32",
            "2^31 in a segment",
            2.0**31,
            "more segments, or int64",
        ),
    ]


def bisected(rises: Callable[[float], float], limit: float) -> float:
    """Where a rising function becomes `limit`."""
    low, high = 1.0, 1e18
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if rises(middle) < limit else (low, middle)
    return low


def said(value: float) -> str:
    """A number in two digits, in words where it is large."""
    for step, word in ((1e12, " trillion"), (1e9, " billion"), (1e6, " million")):
        if value >= step:
            return f"{float(f'{value / step:.2g}'):,g}{word}"
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 10 else f"{value:.2g}"


def size(count: float) -> str:
    """Bytes."""
    for step, unit in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB")):
        if count >= step:
            return f"{float(f'{count / step:.2g}'):,g} {unit}"
    return f"{count / 1e6:,.1f} MB"


def time(seconds: float) -> str:
    for step, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * step:
            return f"{said(seconds / step)} {unit}"
    return f"{said(seconds)} seconds"


def money(dollars: float) -> str:
    return f"{said(dollars)} USD"
