"""What a machine has of all that mmn-index needs, and what is wrong with it.

It has to answer where nothing else does: it imports nothing but the standard library, and looks at packages
from outside (probe.py). Of the environment it tells only variables that hold no secret.
"""

from . import machine, packages
from .checkup import Checkup

__all__ = ["Checkup", "examine"]


def examine() -> Checkup:
    """Look at everything. Nothing that is wrong raises."""
    checkup = Checkup()
    facts = packages.probe([*packages.PACKAGES.values(), "faiss", "mmn_index.hub"])
    packages.examine(checkup, facts)
    machine.examine(checkup, facts)
    return checkup.without_home()
