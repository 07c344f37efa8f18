"""A build over a Ray cluster equals the build by one process, whatever is lost while it runs."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import Command, write_features
from runs import one_thread
from test_shards import bits

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

STORE = 80_000_000  # bytes, the least that Ray takes


@pytest.fixture(scope="module")
def cluster() -> "Iterator[Cluster]":
    """One head without processors, and two nodes with one each."""
    from mmn_index.cluster.session import connected  # sets what Ray reads when it is imported

    del connected
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=STORE)
    yield made
    made.shutdown()


def test_it_works(lively: Path, cluster: "Cluster", command: Command, tmp_path: Path) -> None:
    write_features(tmp_path / "features.h5", 11)
    arguments = [lively / "model", tmp_path / "features.h5", "--window", "9"]
    with one_thread():
        command.ok("build", *arguments, "-o", tmp_path / "whole.mmn")
    began = time.time()
    told = command.ok("build", *arguments, "-o", tmp_path / "c.mmn", "--ray", cluster.address).stderr
    print(told, time.time() - began)
    assert bits(tmp_path / "c.mmn") == bits(tmp_path / "whole.mmn")
