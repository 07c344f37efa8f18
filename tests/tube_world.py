"""A shelf of videos whose people do different things, as a file of tubes and annotations."""

import json
from pathlib import Path

import numpy as np
import torch

from mmn_index.tube_file import Footage, FoundTube
from mmn_index.tube_writer import write_tubes
from mmn_index.tubes import Tube

WIDTH = 6  # of each of the two streams
SENTENCES = ("a person opens the door", "a person reads a book")
SETTING = """base: {base}
model: {{input_dim: 0, num_pre_clips: 16, num_clips: 8, pooling_counts: [7], featpool_dim: 16, conv_dim: 16,
        conv_kernel: 3, conv_layers: 2, joint_dim: 8, text_model: {text}}}
train: {{epochs: 6, batch_size: 8, group_size: 4, lr: 0.01, milestones: [5], freeze_text_epochs: 6,
        full_contrastive_epochs: 6}}
"""


def tube(random: np.random.Generator, length: int, first: int) -> Tube:
    corner = np.cumsum(random.normal(0, 1, (length, 2)), axis=0) + random.uniform(0, 200, 2)
    boxes = np.concatenate([corner, corner + random.uniform(20, 60, 2)], axis=1).astype(np.float32)
    return Tube(torch.arange(first, first + length), torch.from_numpy(boxes))


def make_world(folder: Path, count: int = 24) -> None:
    """Videos of two or three tubes; what one of them does at some time is seen in its features alone."""
    random = np.random.default_rng(0)
    actions = random.normal(0, 1, (2, 2 * WIDTH)).astype(np.float32)
    videos, truths = [], {}
    for number in range(count):
        action, who = number % 2, number % 3 % 2
        tubes = []
        for t in range(2 + number % 2):
            length = int(random.integers(30, 60))
            boxes, features = (
                tube(random, length, 5),
                random.normal(0, 0.3, (length, 2 * WIDTH)).astype(np.float32),
            )
            first = int(random.integers(0, length - 12))
            features[first : first + 12] += actions[action if t == who else 1 - action]
            if t == who:
                part = boxes.rows(first, first + 12)
            halves = torch.from_numpy(features).split(WIDTH, dim=1)
            tubes.append(FoundTube(boxes, 0.9, (halves[0].contiguous(), halves[1][::2].contiguous())))
        videos.append((f"shelf/v{number:02}", Footage(320, 240, 10.0, 70), tubes))
        boxes_of = part.boxes.clone()
        boxes_of[:, 2:] -= boxes_of[:, :2]
        truths[f"shelf/v{number:02}.mp4"] = {
            "bbox": boxes_of.tolist(),
            "st_frame": part.first,
            "ed_frame": part.last,
            "English": SENTENCES[action],
        }
    write_tubes(folder / "tubes.h5", videos, backbone="made up")
    (folder / "truths.json").write_text(json.dumps(truths))


def save_detector(folder: Path) -> Path:
    """A tiny detector of random weights, whose boxes are people nearly everywhere."""
    from transformers import YolosConfig, YolosForObjectDetection
    from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

    torch.manual_seed(0)
    config = YolosConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[64, 96],
        patch_size=16,
        num_detection_tokens=4,
        id2label={0: "person", 1: "dog"},
    )
    model = YolosForObjectDetection(config)
    with torch.no_grad():
        last = model.class_labels_classifier.layers[-1]
        last.weight.zero_()
        last.bias.copy_(torch.tensor([4.0, 0.0, 0.0]))
    model.save_pretrained(folder)
    YolosImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)
    return folder
