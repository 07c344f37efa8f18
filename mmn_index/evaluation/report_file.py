"""report.json: an evaluation as it is kept, with the value of every query; its keys: docs/evaluation.md.

Reports come from strangers: what is read is checked, and everything else is refused with one line.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as short
from typing import Any

from ..errors import ConfigError
from .row_files import finite
from .sections import DEFINITIONS, Metric, Query, Section

NAME = "report.json"
FORMAT, VERSION = "mmn-index report", 1
_LARGEST = 1 << 28  # bytes; a report of 17,000 sentences has about 10 MB
_ABOUT = ("evaluated", "options")  # what a comparison shows of what was measured with what
_PLAIN = (str, int, float)
_KEYS = ("id", "video", "sentence")


@dataclass(frozen=True)
class Report:
    """An evaluation.

    Attributes:
        chosen: what was measured and why, in one line.
        about: what was measured with what, as groups of entries.
        path: where it was read.
    """

    chosen: str
    sections: tuple[Section, ...]
    about: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    path: Path = Path(NAME)


def as_json(report: Report) -> str:
    """The content of report.json."""
    used = dict.fromkeys(section.definition for section in report.sections)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "chosen": report.chosen,
        **report.about,
        "definitions": {name: DEFINITIONS[name] for name in used},
        "sections": [_section(section) for section in report.sections],
    }
    return json.dumps(_without_nan(content), ensure_ascii=False, allow_nan=False) + "\n"


def _section(section: Section) -> dict[str, Any]:
    return {
        "name": section.name,
        "title": section.title,
        "definition": section.definition,
        "conditions": dict(section.conditions),
        "metrics": [
            {
                "name": one.name,
                "definition": section.definition,
                "unit": one.unit,
                "value": one.value,
                "chance": one.chance,
                "published": dict(one.published),
                "main": one.main,
                "values": one.values,
            }
            for one in section.metrics
        ],
        "queries": {key: [getattr(query, key) for query in section.queries] for key in _KEYS},
        "notes": [*section.notes, *section.fine_print, *section.remarks],
        "records": [dict(record) for record in section.records],
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return value


def read_report(path: Path) -> Report:
    """Read what a comparison needs of a report: its sections without tables, records and plots, and what was
    evaluated.

    Args:
        path: report.json, or the folder that holds it.

    Raises:
        ConfigError: it is missing, damaged, of another version, or no report.
    """
    file = path / NAME if os.path.isdir(path) else path
    content = _content(file, path)
    try:
        _check(
            isinstance(content, dict) and content.get("format") == FORMAT, "is no report of mmn-index eval"
        )
        version = content.get("version")
        _check(
            version == VERSION and not isinstance(version, bool),
            f"is of version {short(version)}, this mmn-index reads {VERSION}; evaluate again",
        )
        given = _list(content.get("sections"), "sections")
        sections = tuple(_read_section(one, f"section {n}") for n, one in enumerate(given, 1))
        _check(bool(sections), "has no section")
        about = {name: _read_about(content.get(name, {}), name) for name in _ABOUT}
        return Report(_text(content.get("chosen"), "chosen"), sections, about, path)
    except ValueError as error:
        raise ConfigError(f"{file}: {error}.") from error


def _read_about(given: Any, name: str) -> dict[str, Any]:
    """Entries of one value, and of several, such as a score's, as text."""
    _check(isinstance(given, dict), f"{name} is {short(given)}, expected an object")
    texts = {
        key: ", ".join(f"{part} {one}" for part, one in value.items() if isinstance(one, _PLAIN))
        for key, value in given.items()
        if isinstance(value, dict)
    }
    return {key: value for key, value in given.items() if isinstance(value, _PLAIN)} | texts


def _content(file: Path, given: Path) -> Any:
    try:
        if file.stat().st_size > _LARGEST:
            raise ConfigError(
                f"{file}: has {file.stat().st_size:,} bytes, more than any report ({_LARGEST:,} at most)."
            )
        if not file.is_file():
            raise ConfigError(f"{file}: is no file, expected a report.json or its folder.")
        return json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_number)
    except FileNotFoundError as error:
        folder = "the folder holds no" if os.path.isdir(given) else "no such file; expected a folder with a"
        raise ConfigError(
            f"{given}: {folder} report.json. `mmn-index eval ... -o FOLDER` writes one."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{file}: cannot be read as a report ({reason}). Is it complete?") from error


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _read_section(content: Any, where: str) -> Section:
    _check(isinstance(content, dict), f"{where} is {short(content)}, expected an object")
    name = _text(content.get("name"), f"{where}, name")
    where = f"section '{name:.40}'"
    queries = _read_queries(content.get("queries"), where)
    conditions = content.get("conditions")
    _check(isinstance(conditions, dict), f"{where}: conditions are {short(conditions)}, expected an object")
    metrics = [
        _read_metric(one, len(queries), f"{where}, metric {n}")
        for n, one in enumerate(_list(content.get("metrics"), f"{where}, metrics"), 1)
    ]
    names = [one.name for one in metrics]
    _check(len(set(names)) == len(names), f"{where}: has two metrics of one name")
    return Section(
        name,
        _text(content.get("title"), f"{where}, title"),
        _text(content.get("definition"), f"{where}, definition"),
        queries,
        tuple(metrics),
        {key: _text(value, f"{where}, conditions, {key:.40}") for key, value in conditions.items()},
    )


def _read_queries(content: Any, where: str) -> tuple[Query, ...]:
    _check(isinstance(content, dict), f"{where}: queries are {short(content)}, expected an object")
    columns = [
        [_text(x, f"{where}, queries, {key}") for x in _list(content.get(key), f"{where}, queries, {key}")]
        for key in _KEYS
    ]
    lengths = {len(column) for column in columns}
    _check(len(lengths) == 1, f"{where}: queries have {', '.join(str(len(x)) for x in columns)} {_KEYS}")
    queries = tuple(Query(*one) for one in zip(*columns, strict=True))
    _check(len({(one.id, one.video) for one in queries}) == len(queries), f"{where}: a query comes twice")
    return queries


def _read_metric(content: Any, count: int, where: str) -> Metric:
    _check(isinstance(content, dict), f"{where} is {short(content)}, expected an object")
    name = _text(content.get("name"), f"{where}, name")
    where = f"{where} ('{name:.60}')"
    unit = content.get("unit")
    _check(unit in ("%", ""), f"{where}: the unit is {short(unit)}, expected % or nothing")
    value = content.get("value")
    given = content.get("values")
    values = None if given is None else _read_values(_list(given, f"{where}, values"), count, where)
    return Metric(
        name,
        math.nan if value is None else _number(value, f"{where}, value"),
        unit,
        values,
        main=content.get("main") is True,
    )


def _read_values(given: Sequence[Any], count: int, where: str) -> tuple[float | None, ...]:
    _check(len(given) == count, f"{where}: has {len(given):,} values for {count:,} queries")
    return tuple(None if x is None else _number(x, f"{where}, values") for x in given)


def _number(value: Any, where: str) -> float:
    found = finite(value)
    if found is None:
        raise ValueError(f"{where}: {short(value)} is no number")
    return found


def _text(value: Any, where: str) -> str:
    _check(isinstance(value, str), f"{where}: {short(value)} is no text")
    return str(value)


def _list(value: Any, where: str) -> list[Any]:
    _check(isinstance(value, list), f"{where}: {short(value)} is no list")
    return list(value)


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
