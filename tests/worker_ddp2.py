"""The run behind the golden case ddp2-activitynet-mini, in one process and in two; see
test_golden_distributed.py.

python worker_ddp2.py FOLDER

Writes rank0.json, rank1.json and alone.json. The processes are forks of this one, which imports everything
once and computes nothing.
"""

import json
import os
import socket
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # imported late by its optimisers
from forks import forked
from golden import Case, golden
from mmn_index.train.batches import TrainingSet, derived_seed, split_epoch
from mmn_index.train.config import Setting, TrainConfig
from mmn_index.train.distributed import world
from mmn_index.train.loop import Run, start_epoch
from mmn_index.train.losses import LossConfig

from mmn_index.evaluation.annotations import read_annotations
from mmn_index.features import FeatureFile


class WordNumbers:
    """The golden sentences are made of words `w317`, whose number is the token."""

    def __call__(self, sentences: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [[101, *(int(word[1:]) for word in sentence.split()), 102] for sentence in sentences]
        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
        return ids, ids > 0


def setting_of(case: Case, overrides: dict[str, Any], processes: int) -> Setting:
    """The official configuration of a case, its batch in groups of what one of the official processes saw."""
    loss = case.official["MODEL"]["MMN"]["LOSS"]
    batch = overrides["SOLVER.BATCH_SIZE"]
    config = TrainConfig(
        epochs=overrides["SOLVER.MAX_EPOCH"],
        batch_size=batch,
        group_size=batch // processes,
        lr=case.official["SOLVER"]["LR"],
        milestones=tuple(int(number) for number in overrides["SOLVER.MILESTONES"].strip("(),").split(",")),
        freeze_text_epochs=overrides["SOLVER.FREEZE_BERT"],
        full_contrastive_epochs=overrides["SOLVER.ONLY_IOU"],
    )
    losses = LossConfig(
        min_iou=loss["MIN_IOU"],
        max_iou=loss["MAX_IOU"],
        num_positives=loss["NUM_POSTIVE_VIDEO_PROPOSAL"],
        negative_iou=loss["NEGATIVE_VIDEO_IOU"],
        sentence_removal_iou=loss["SENT_REMOVAL_IOU"],
        tau_video=loss["TAU_VIDEO"],
        tau_sentence=loss["TAU_SENT"],
        margin=loss["MARGIN"],
        contrastive_weight=loss["CONTRASTIVE_WEIGHT"],
    )
    return Setting(case.model.config, config, losses)


def run(folder: Path) -> dict[str, Any]:
    """Three epochs in the official order; the steps of this process, and its weights' checksums at the
    end.
    """
    case = Case("activitynet-mini")
    overrides = json.loads(golden("ddp2-activitynet-mini", "ddp2_rank0.json").read_text())["overrides"]
    setting = setting_of(case, overrides, processes=2)
    case.model.tokenizer = WordNumbers()  # type: ignore[assignment]
    before = {name: tensor.clone() for name, tensor in case.model.state_dict().items()}
    steps = []
    with (
        world("cpu") as (processes, _),
        FeatureFile(golden("activitynet-mini") / "features.hdf5") as features,
    ):
        annotations = read_annotations(golden("activitynet-mini") / "annotations.json")
        data = TrainingSet(
            annotations, features, case.model, folder / f"{processes.size}.bin", world=processes
        )
        training = Run(setting, case.model, data, processes, lambda what, done, total, note: None)
        for epoch in range(1, setting.train.epochs + 1):
            weight = start_epoch(case.model, setting.train, setting.loss, epoch)
            training.wrap(epoch > setting.train.freeze_text_epochs)
            # The official sampler: a permutation seeded with the epoch.
            order = torch.randperm(len(data.videos), generator=torch.Generator().manual_seed(epoch)).tolist()
            for number, step in enumerate(split_epoch(order, setting.train)):
                mine = range(processes.rank, len(step), processes.size)
                groups = [
                    data.group(step[place], place, seed=derived_seed(0, epoch, number, place), epoch=epoch)
                    for place in mine
                ]
                rates = [group["lr"] for group in training.optimiser.param_groups]
                losses, norm = training.step(groups, len(step), weight)
                found = (losses * len(step) / len(groups)).tolist()
                steps.append(
                    {
                        "videos": [step[place] for place in mine],
                        "losses": found,
                        "norm": float(norm),
                        "rates": rates,
                    }
                )
            training.schedule.step()
    after = case.model.state_dict()
    checksums = {
        name: {
            "l2": float(tensor.double().norm()),
            "delta_l2": float((tensor.double() - before[name].double()).norm()),
        }
        for name, tensor in after.items()
    }
    return {"steps": steps, "checksums": checksums}


def begin(result: Path, **environment: str) -> tuple[int, Connection]:
    """A process of the run, with the variables that torchrun sets, or alone."""

    def work() -> None:
        os.environ.update(environment)
        result.write_text(json.dumps(run(result.parent)))

    return forked(work)


def finish(*processes: tuple[int, Connection]) -> None:
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child, _ in processes]
    assert not any(codes), codes


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    finish(*(begin(folder / f"rank{r}.json", RANK=str(r), LOCAL_RANK=str(r), **together) for r in (0, 1)))
    finish(begin(folder / "alone.json"))
