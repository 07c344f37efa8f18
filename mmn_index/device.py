"""Where a network runs: a device by name, checked before any work is done."""

import torch

from .errors import ConfigError


def find_devices(name: str) -> list[torch.device]:
    """All devices that a name means: "cuda" is every GPU that is visible, any other name one device.

    Raises:
        ConfigError: there is none on this machine.
    """
    device = find_device(name)
    if name != "cuda":
        return [device]
    return [torch.device("cuda", number) for number in range(torch.cuda.device_count())]


def find_device(name: str) -> torch.device:
    """The device of that name ("cpu", "cuda", "cuda:1", "mps", ...).

    Raises:
        ConfigError: there is no such device on this machine.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device '{name}' cannot be used here ({reason}). 'cpu' always can.") from error
    return device
