"""mmn-index doctor: versions, devices, places, and what is wrong."""

import click

from .output import print_json, print_line


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for a bug report.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Show versions, devices, models and disk space on this machine, and what is wrong.

    The exit code is 1 if something is wrong, and the line about it says what to do. Advice alone is not an
    error. The output contains no passwords and no tokens.

    \b
    Example:
        mmn-index doctor --json
    """
    from mmn_index.doctor import examine

    found = examine()
    if as_json:
        print_json({**found.sections, "problems": found.problems, "advice": found.advice})
    else:
        for title, rows in found.sections.items():
            width = max(map(len, rows), default=0)
            print_line(title, apart=title != "versions")
            for name, text in rows.items():
                print_line(f"  {name:<{width}}  {text}")
        for title, lines in (("Advice", found.advice), ("What is wrong", found.problems)):
            if lines:
                print_line(f"{title}:", apart=True)
            for line in lines:
                print_line(f"  - {line}")
        if not found.problems:
            print_line("Nothing is wrong.", apart=True)
    context.exit(1 if found.problems else 0)
