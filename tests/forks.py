"""Forks of a test's process, for work that is to be killed or to run beside others."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


def forked(work: Callable[..., Any], *arguments: Any) -> tuple[int, Connection]:
    """Begin some work in a fork: its process id, and where what it returns arrives; nothing arrives if it
    dies.
    """
    here, there = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            there.send(work(*arguments))
            code = 0
        finally:
            os._exit(code)
    there.close()
    return child, here
