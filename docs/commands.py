"""The reference of the commands, made from the commands."""

import inspect
from collections.abc import Iterator

import click
from mmn_index.cli.main import SECTIONS, main

_INTRO = """# Commands

What `mmn-index COMMAND -h` prints, for every command.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | it could not be done; one line says why |
| 2 | the command line is wrong |
| 3 | done, but something was left out; a list says what and why |
"""


def reference() -> str:
    """Markdown: the commands by what they are for, with their options."""
    root = click.Context(main, info_name="mmn-index")
    lines = [_INTRO]
    for title, commands in SECTIONS.items():
        lines += [f"## {title}", ""]
        for command in commands:
            context = click.Context(command, info_name=command.name, parent=root)
            lines += [f"### {command.name}", "", *_text(command.help or ""), "", *_usage(context), ""]
    return "\n".join(lines)


def _text(help_text: str) -> Iterator[str]:
    """Paragraphs as Markdown; what stands behind a line of \\b keeps its lines."""
    for paragraph in inspect.cleandoc(help_text).split("\n\n"):
        if not paragraph.startswith("\b"):
            yield from (paragraph, "")
            continue
        lines = paragraph.removeprefix("\b").strip("\n").split("\n")
        title = [line for line in lines[:1] if len(lines) > 1 and not line.startswith(" ")]
        yield from (
            *title,
            "",
            "```",
            *inspect.cleandoc("\n".join(lines[len(title) :])).split("\n"),
            "```",
            "",
        )


def _usage(context: click.Context) -> Iterator[str]:
    yield from ("```", context.get_usage().removeprefix("Usage: "), "```", "")
    rows = [
        record
        for param in context.command.get_params(context)
        if "--help" not in param.opts and (record := param.get_help_record(context))
    ]
    if rows:
        yield from ("| option | meaning |", "|---|---|")
        yield from (
            f"| `{names.replace('|', ' | ')}` | {_plain(' '.join(text.split()))} |" for names, text in rows
        )


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("[", "\\[")
