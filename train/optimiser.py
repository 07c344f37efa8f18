"""The optimiser, and what changes from epoch to epoch: what is frozen, and the weight of the losses."""

import torch

from mmn_index.model import MMN

from .config import TrainConfig
from .losses import LossConfig


def start_epoch(model: MMN, config: TrainConfig, loss: LossConfig, epoch: int) -> float:
    """Bring the model into the state of an epoch, counted from 1; returns the weight of its contrastive
    losses.

    The frozen text encoder stays in training mode, its dropout active, as in the official code.
    """
    unused = model.text_encoder.unused  # MMN takes the mean over tokens: some encoders bring a pooler along
    for name, parameter in model.text_encoder.bert.named_parameters():
        parameter.requires_grad_(epoch > config.freeze_text_epochs and name not in unused)
    model.train()
    model.text_encoder.bert.train(config.text_dropout)
    late = epoch > config.full_contrastive_epochs
    return loss.contrastive_weight * (config.late_contrastive_factor if late else 1.0)


def make_optimiser(model: MMN, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW in two groups: everything else, then the pre-trained text encoder at a lower rate."""
    text = {id(parameter) for parameter in model.text_encoder.bert.parameters()}
    base = [parameter for parameter in model.parameters() if id(parameter) not in text]
    groups = [
        {"params": base, "lr": config.lr},
        {"params": list(model.text_encoder.bert.parameters()), "lr": config.lr * config.text_lr_factor},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, config.beta2), eps=1e-8, weight_decay=config.weight_decay)
