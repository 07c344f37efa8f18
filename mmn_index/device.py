"""Where a network or a scan runs: a device by name, checked before any work is done, and what it has room
for.
"""

from collections.abc import Sequence

import torch

from .errors import ConfigError

_AT_WORK = 1 << 31  # bytes of a GPU that a search may need beside the embeddings


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
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise ConfigError(f"device '{name}' cannot be used here ({reason}). 'cpu' always can.") from error
    return device


def room(devices: Sequence[torch.device]) -> int:
    """Bytes that each of as many equal shards may take, one on each device (which may be named twice)."""
    return max(0, min((_free(device) - _AT_WORK) // list(devices).count(device) for device in devices))


def _free(device: torch.device) -> int:
    """Bytes that a device has left; without end where it does not say."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 1 << 62
