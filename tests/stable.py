"""What is stable from 1.0 on, as it is now: see docs/compatibility.md and test_stable.py.

python tests/stable.py > tests/data/stable.json, after something was added
"""

import dataclasses
import importlib
import inspect
import json
import sys
from typing import Any

import click
from mmn_index.cli.main import main
from mmn_index.train.config import Setting

from mmn_index.server.app import api

PUBLIC = (
    "mmn_index",
    "mmn_index.index",
    "mmn_index.models",
    "mmn_index.search",
    "mmn_index.cluster",
    "mmn_index.client",
    "mmn_index.errors",
)
# Of an open index: the other members are for the rest of mmn-index.
MEMBERS = {
    "MomentIndex": {"columns", "model_path", "num_moments", "root", "version", "video", "video_ids", "where"}
}
Names = dict[str, list[str]]


def commands() -> Names:
    """Arguments and options of every command."""
    found = {}
    for name, command in main.commands.items():
        names = set[str]()
        for param in command.params:
            flags = [*param.opts, *param.secondary_opts]
            names |= set(flags) if isinstance(param, click.Option) else {param.name.upper()}
        found[name] = sorted(names)
    return found


def python() -> Names:
    """What the modules of PUBLIC export: fields of a class of data, members of others, parameters of functions."""
    found = {}
    for path in PUBLIC:
        module = importlib.import_module(path)
        own = [name for name, thing in vars(module).items() if getattr(thing, "__module__", "") == path]
        for name in getattr(module, "__all__", own):
            found[f"{path}.{name}"] = members_of(getattr(module, name))
    return found


def members_of(thing: Any) -> list[str]:
    """See `python`."""
    if dataclasses.is_dataclass(thing):
        return [field.name for field in dataclasses.fields(thing)]
    if isinstance(thing, type):
        return sorted(MEMBERS.get(thing.__name__, {name for name in vars(thing) if not name.startswith("_")}))
    return list(inspect.signature(thing).parameters) if callable(thing) else []


def http() -> Names:
    """Parameters of every call, and members of what requests and answers are made of."""
    described = api().openapi()
    found = {}
    for path, calls in described["paths"].items():
        for method, call in calls.items():
            found[f"{method.upper()} {path}"] = sorted(one["name"] for one in call.get("parameters", ()))
    for name, schema in described["components"]["schemas"].items():
        found[name] = sorted(schema.get("properties", {}))
    return found


def settings() -> Names:
    """Keys of a setting of `train` in YAML."""
    parts = {field.name: field.type for field in dataclasses.fields(Setting)}
    return {name: [field.name for field in dataclasses.fields(kind)] for name, kind in parts.items()}


def stable() -> dict[str, Names]:
    """All of it."""
    return {"commands": commands(), "python": python(), "http": http(), "settings": settings()}


if __name__ == "__main__":
    json.dump(stable(), sys.stdout, indent=1, sort_keys=True)
