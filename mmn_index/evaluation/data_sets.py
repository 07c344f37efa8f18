"""The data sets that results are compared on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .benchmarks import Benchmark, Published


def recalls(ious: Sequence[float]) -> tuple[tuple[int, float], ...]:
    """R@1 at each IoU, then R@5, in the order of the papers' columns."""
    return tuple((n, m) for n in (1, 5) for m in ious)


_ANNOTATIONS = "the json files of the official code (repository MCG-NJU/MMN, MIT, folder dataset/{})"
_RELEASE = (
    "the feature release of 2D-TAN (repository microsoft/VideoX, folder 2D-TAN: its README links "
    "https://rochester.box.com/s/8znalh6y5e82oml2lr7to8s6ntab6mav)"
)
_LEADERBOARD = "MMN paper, from a leaderboard (second hand)"

CHARADES = Benchmark(
    name="charades",
    setting="charades",
    splits={"train": "charades_train.json", "test": "charades_test.json"},
    videos={"train": 5336, "test": 1334},
    sentences={"train": 12404, "test": 3720},
    features="vgg_rgb_features.hdf5",
    keys="one dataset a video, named by its id, such as `AO8RW`",
    width=4096,
    recalls=recalls((0.5, 0.7)),
    nms=0.5,
    published=(
        Published(
            "MMN paper",
            "MMN paper, as quoted in MCG-NJU/MMN issue 5",
            {"R@1,IoU=0.5": 47.31, "R@1,IoU=0.7": 27.28, "R@5,IoU=0.5": 83.74, "R@5,IoU=0.7": 58.41},
        ),
    ),
    where_features=f"VGG features, from {_RELEASE}",
    where_annotations=_ANNOTATIONS.format("Charades_STA"),
)
# The same moments with other sentences; nothing is published for them with these features.
CHARADES_FIG = replace(
    CHARADES,
    name="charades-fig",
    splits={"train": "charades_fig_train.jsonl", "test": "charades_fig_test.jsonl"},
    videos={},
    sentences={"test": 3720},
    published=(),
    where_annotations="fine-grained sentences, from VERIFIED (repository hlchen23/VERIFIED, folder "
    "fine-grained-anno/charades-fig)",
)
CHARADES_RF = replace(
    CHARADES,
    name="charades-rf",
    splits={"val": "charades_sta_val2.0.json", "test": "charades_sta_test2.0.json"},
    videos={},
    sentences={},
    published=(),
    where_annotations="with sentences that have nothing in their video, from RaTSG (repository "
    "HuiGuanLab/RaTSG, folder data/dataset/charades_RF)",
)
ACTIVITYNET = Benchmark(
    name="activitynet",
    setting="activitynet",
    splits={"train": "train.json", "val": "val.json", "test": "test.json"},
    videos={"train": 10009, "val": 4917, "test": 4885},
    sentences={"train": 37417, "val": 17505, "test": 17031},
    features="sub_activitynet_v1-3.c3d.hdf5",
    keys="one dataset a video, such as `v_QOlSCBRmfWY/c3d_features`",
    width=500,
    recalls=recalls((0.3, 0.5, 0.7)),
    nms=0.5,
    published=(
        Published("MMN paper", _LEADERBOARD, {"R@1,IoU=0.5": 48.59}),
        Published(
            "MMN by VideoMind",
            "MMN as quoted by VideoMind (docs/BENCHMARK.md)",
            {"R@1,IoU=0.3": 64.5, "R@1,IoU=0.5": 48.2, "R@1,IoU=0.7": 29.4, "mIoU": 46.6},
        ),
    ),
    where_features="C3D features, from the download page of the ActivityNet challenge 2016 "
    f"(http://activity-net.org/challenges/2016/download.html) or from {_RELEASE}",
    where_annotations=_ANNOTATIONS.format("ActivityNet"),
)
TACOS = Benchmark(
    name="tacos",
    setting="tacos",
    splits={"train": "train.json", "val": "val.json", "test": "test.json"},
    videos={"train": 75, "val": 27, "test": 25},
    sentences={"train": 9790, "val": 4436, "test": 4001},
    features="tall_c3d_features.hdf5",
    keys="one dataset a video, such as `s17-d69.avi`",
    width=4096,
    recalls=recalls((0.1, 0.3, 0.5)),
    nms=0.4,
    published=(Published("MMN paper", _LEADERBOARD, {"R@1,IoU=0.5": 26.17}),),
    where_features=f"C3D features, from {_RELEASE}",
    where_annotations=_ANNOTATIONS.format("TACoS"),
)
UCF_MOMENTS = Benchmark(
    name="ucf-moments",
    setting="ucf-moments",
    splits={"train": "train.json", "val": "val.json", "test": "test.json"},
    videos={"train": 300, "val": 50, "test": 100},
    sentences={"test": 544},
    features="features.hdf5",
    keys="one dataset a video, named by its id",
    width=256,
    recalls=recalls((0.5, 0.7)),
    nms=0.5,
    published=(
        Published(
            "official code",
            "the official code run on the same data, mean of 2 seeds (docs/results.md)",
            {"R@1,IoU=0.5": 80.4, "R@1,IoU=0.7": 78.0, "R@5,IoU=0.5": 98.1, "R@5,IoU=0.7": 95.6},
        ),
    ),
    where_features="VGG16 features of composed UCF101 clips, written by the data set's `python compose.py "
    "data/ucf-moments`",
    where_annotations="written by the data set's `python compose.py data/ucf-moments`",
)
PLAYHOUSE = Benchmark(
    name="playhouse",
    setting="playhouse",
    splits={"train": "train.json", "val": "val.json", "test": "test.json"},
    videos={},
    sentences={},
    features="features.h5",
    keys="one dataset a video, named by its id, such as `test_00000`",
    width=0,
    recalls=recalls((0.5, 0.7)),
    nms=0.5,
    published=(),
    where_features="snippet features of the sample world, written by `mmn-index extract data/playhouse/train "
    "data/playhouse/val "
    "data/playhouse/test -o data/playhouse/features.h5`",
    where_annotations="the sample world's, rendered by `mmn-index playhouse data/playhouse`",
)
# The official features and tubes are pickles. What the authors reached could not be read anywhere.
STVG = Benchmark(
    name="stvg",
    setting="stvg",
    splits={"train": "train.json", "test": "test.json"},
    videos={},
    sentences={},
    features="tubes.h5",
    keys="a group a video, a group a tube in it (docs/tubes.md)",
    width=2048,
    recalls=(),
    nms=0.5,
    published=(),
    where_features="tubes with features: from the videos by `mmn-index tubes`, or the official ones "
    "converted (docs/tubes.md)",
    where_annotations="HC-STVG's annotations with boxes (repository tzhhhh123/HC-STVG)",
    tubes=True,
)
BENCHMARKS: Mapping[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (CHARADES, CHARADES_FIG, CHARADES_RF, ACTIVITYNET, TACOS, UCF_MOMENTS, PLAYHOUSE, STVG)
}
