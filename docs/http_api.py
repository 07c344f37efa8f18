"""The reference of the HTTP API, made from its OpenAPI description.

python docs/http_api.py > docs/http-api.md
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

from mmn_index.server.app import api

_INTRO = """# HTTP API

Every call of a server that `mmn-index serve` starts. [Serving](serving.md) says how to start one, how to call
it with curl and from Python, who may call it, and how it behaves under load.

Times are seconds from the beginning of a video. What is under `/v1` stays: new members may be added, and none
changes its meaning or goes away. Ignore members of an answer that you do not know. A request with a member
that the server does not know is refused.

A running server gives its own description at `/v1/openapi.json`. This page is made from it, by
`python docs/http_api.py > docs/http-api.md`."""

_ERRORS = """## Errors

An error is a JSON object (problem details, [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)): `title`,
`status`, and `detail`, which says what is wrong and what was expected.

| status | meaning |
|---|---|"""


def reference(spec: dict[str, Any]) -> str:
    """Markdown: each call, then what requests and answers are made of."""
    schemas = spec["components"]["schemas"]
    lines = [_INTRO, "", "## Calls"]
    errors = dict[str, str]()
    for path, calls in spec["paths"].items():
        for method, call in calls.items():
            lines += ["", f"### `{method.upper()} {path}`", "", call["description"].strip()]
            lines += [*_parameters(call), *_body(call, schemas), *_answers(call)]
            errors |= _errors(call)
    lines += ["", _ERRORS, *(f"| {status} | {what} |" for status, what in sorted(errors.items()))]
    lines += ["", "## Objects", "", "What the bodies of requests and answers are made of."]
    for name, schema in schemas.items():
        lines += ["", f"### {name}", ""]
        if "description" in schema:
            lines += [schema["description"].strip(), ""]
        lines += ["| member | type | default | meaning |", "|---|---|---|---|"]
        required = schema.get("required", ())
        for member, about in schema.get("properties", {}).items():
            default = "required" if member in required else _default(about)
            lines.append(f"| `{member}` | {_type(about)} | {default} | {_said(about)} |")
    return "\n".join(lines) + "\n"


def _parameters(call: dict[str, Any]) -> Iterator[str]:
    if not call.get("parameters"):
        return
    yield from ("", "| parameter | type | default | meaning |", "|---|---|---|---|")
    for one in call["parameters"]:
        schema = one["schema"]
        default = "required" if one.get("required") else _default(schema)
        where = " (in the path)" if one["in"] == "path" else ""
        yield f"| `{one['name']}`{where} | {_type(schema)} | {default} | {_said(one | schema)} |"


def _body(call: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    for kind, content in call.get("requestBody", {}).get("content", {}).items():
        yield from ("", f"Body: {_type(content['schema'])} as `{kind}`.")
        schema = schemas[content["schema"]["$ref"].rpartition("/")[2]]
        for example in schema.get("examples", ()):
            yield from ("", "```json", json.dumps(example), "```")


def _answers(call: dict[str, Any]) -> Iterator[str]:
    errors, answers = _errors(call), []
    for status, answer in sorted(call["responses"].items()):
        if status in errors:
            continue
        what = answer["description"][:1].lower() + answer["description"][1:].rstrip(".")
        if kinds := answer.get("content", {}):
            what = ", ".join(_given(kind, one.get("schema", {})) for kind, one in kinds.items())
        answers.append(f"{status} (no body)" if status == "204" else f"{status}: {what}")
    yield from ("", f"Answers: {'; '.join(answers)}.")
    if errors:
        yield from ("", f"[Errors](#errors): {', '.join(sorted(errors))}.")


def _errors(call: dict[str, Any]) -> dict[str, str]:
    return {
        status: answer["description"]
        for status, answer in call["responses"].items()
        if any("problem" in kind for kind in answer.get("content", {}))
    }


def _given(kind: str, schema: dict[str, Any]) -> str:
    return _type(schema) if kind == "application/json" and schema else f"`{kind}`"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"object of {_type(values)}" if isinstance(values, dict) and values else "object"
    return str(schema.get("type", "any")) + _range(schema)


def _range(schema: dict[str, Any]) -> str:
    least, most = (schema.get(name, schema.get(other)) for name, other in _BOUNDS)
    if most is not None and most < _NO_BOUND:
        return f", {_plain(least or 0)} to {_plain(most)}"
    return "" if least is None else f", {_plain(least)} or more"


def _plain(number: float) -> str:
    return f"{number:,.10g}"


_NO_BOUND = 1e9  # bounds from here on only keep numbers in range
_BOUNDS = (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    if default in (None, [], "") or (not isinstance(default, str) and default >= _NO_BOUND):
        return ""
    return f"`{default}`".replace("`False`", "`false`")


def _said(schema: dict[str, Any]) -> str:
    said = schema.get("description", "")
    for example in schema.get("examples", ())[:1]:
        said += f" Example: `{example[0] if isinstance(example, list) else example}`."
    return str(said).strip().replace("\n", " ").replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference(api().openapi()))
