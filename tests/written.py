"""The reference pages that are written from the code: run `python -m tests.written` to write them anew."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from typer.main import get_command

from wayline.cli import app
from wayline.observation.vocabulary import LIMITS

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
SOURCE = ROOT / "src" / "wayline"


def pages() -> dict[str, str]:
    """Each page's name and what it must say."""
    return {"cli.md": cli_page(), "limits.md": limits_page()}


# ------------------------------------------------------------------ the command line


def commands() -> Mapping[str, Any]:
    """Every command by the name it is called by, in the order of `wayline --help`; one of a group by both names."""
    found: dict[str, Any] = {}
    for name, each in get_command(app).commands.items():
        within = getattr(each, "commands", None)
        found |= {name: each} if within is None else {f"{name} {inner}": one for inner, one in within.items()}
    return found


def example_of(command: Any) -> str:
    """The example that a command's help ends with."""
    found = re.search(r"^Example: (wayline .+(?:\n.+)*)\Z", (command.help or "").strip(), re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


def cli_page() -> str:
    """The page of commands."""
    parts = [
        "# The command line",
        "Written from the commands themselves; a test compares them. `wayline COMMAND --help` says the same.",
        "Exit codes: 0 done; 1 the playbook, mapping or data has problems, which are printed; 2 the command was "
        "misspelt; 3 this installation is in the way (a lock, a disk, a port); 70 a defect of Wayline's.",
        "| command | |\n|---|---|\n"
        + "\n".join(
            f"| [`{name}`](#{name.replace(' ', '-')}) | {first_of(each)} |" for name, each in commands().items()
        ),
    ]
    for name, command in commands().items():
        said = command.help.strip().split("\n\nExample:")[0]
        said = "\n\n".join(" ".join(part.split()) for part in said.split("\n\n"))
        parts += [f"## {name}", said, f"```\n{example_of(command)}\n```", table_of(command)]
    return "\n\n".join(parts) + "\n"


def first_of(command: Any) -> str:
    """What a command does, in its first sentence."""
    return " ".join(command.help.strip().split("\n\n")[0].split())


def table_of(command: Any) -> str:
    """The arguments and options of a command."""
    rows = ["| argument or option | if left out | means |", "|---|---|---|"]
    for each in command.params:
        is_argument = each.param_type_name == "argument"
        called = each.name.upper() if is_argument else "`, `".join((*each.opts, *each.secondary_opts))
        rows.append(f"| `{called}` | {left_out(each)} | {each.help} |")
    return "\n".join(rows)


def left_out(parameter: Any) -> str:
    """What holds where a parameter is not given."""
    if parameter.required:
        return "required"
    value = parameter.default
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value in (None, "") else f"`{value}`"


# ------------------------------------------------------------------ limits

ROOMS = (
    ("conditions", "Conditions"),
    ("domain", "What is kept of one customer"),
    ("observation", "Events as they come in"),
    ("interpretation", "What is remembered"),
    ("measurement", "Measurement"),
    ("orchestration", "Texts and what they show"),
    ("engine", "Turns"),
    ("playbook", "Playbooks"),
    ("governance", "Explanations"),
    ("channels", "Channels"),
    ("sources", "Imported files"),
    ("store", "The store"),
    ("runtime", "The running engine"),
    ("serving", "The server and its pages"),
)


def limits_page() -> str:
    """The page of limits."""
    parts = [
        "# Limits",
        "Everything has a bound with a name, because whatever has none is where an outage comes from. Written from "
        "the constants in the code; a test compares them, and holds that each says what it bounds. A playbook says "
        "its own (caps, rows of facets, budgets) within these.",
    ]
    for room, title in ROOMS:
        rows = [*_of_events()] if room == "observation" else []
        for path in sorted([SOURCE / f"{room}.py", *(SOURCE / room).rglob("*.py")]):
            rows += [f"| {means} | {value} | `{where} |" for means, value, where in limits_in(path)]
        if rows:
            parts += [f"## {title}", "\n".join(["| what | at most | where |", "|---|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def _of_events() -> Iterator[str]:
    for name, most in LIMITS.items():
        what = f"Of one event: {re.sub('_(max|noted)$', '', name).replace('_', ' ')}"
        noted = "; more is taken and noted" if name.endswith("_noted") else ""
        yield f"| {what}{noted} | {in_words('', most)} | `observation/vocabulary.py` {name} |"


def limits_in(path: Path) -> Iterator[tuple[str, str, str]]:
    """(what it bounds, how much, where) of each constant and each setting of a module whose name ends in max."""
    if not path.exists() or path.name.startswith("shop_"):  # the simulated shop bounds nothing of the engine
        return
    text = path.read_text("utf-8")
    lines = text.split("\n")
    where = path.relative_to(SOURCE).as_posix()
    module = importlib.import_module("wayline." + where.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    tree = ast.parse(text)
    for holder, body in [(module, tree.body), *_values(module, tree)]:
        for node, after in zip(body, [*body[1:], None], strict=True):
            name = _named(node)
            if re.search(r"_(max|MAX)$", name) and getattr(node, "value", None) is not None:
                value = getattr(holder, name) if holder is module else holder[name]
                if value and "LIMITS" not in ast.unparse(node):  # those are named where they are defined
                    yield _meaning(node, after, lines), in_words(name, value), f"{where}` {name.lstrip('_')}"


def _values(module: Any, tree: ast.Module) -> Iterator[tuple[dict[str, Any], list[ast.stmt]]]:
    """The settings that are values of their own: structs with a default for every field."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any("Struct" in ast.unparse(base) for base in node.bases):
            kind = getattr(module, node.name)
            given = dict(zip(reversed(kind.__struct_fields__), reversed(kind.__struct_defaults__), strict=False))
            yield given, node.body


def _named(node: ast.stmt) -> str:
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    return target.id if isinstance(target, ast.Name) else ""


def _meaning(node: ast.stmt, after: ast.stmt | None, lines: list[str]) -> str:
    """What the comment behind a constant, or the text below it, says."""
    if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
        return " ".join(after.value.value.split()).rstrip(".")
    comment = lines[(node.end_lineno or node.lineno) - 1][node.end_col_offset or 0 :].partition("#")[2].strip()
    return comment[:1].upper() + comment[1:]


def in_words(name: str, value: Any) -> str:
    """A bound as people read it."""
    if isinstance(value, timedelta):
        days = value / timedelta(days=1)
        return f"{days:,.0f} days" if days >= 1 else f"{value / timedelta(minutes=1):,.0f} minutes"
    if isinstance(value, float):
        return f"{value:g} s" if value >= 1 else f"{value:g} of all"  # no wait is set below a second: it is a share
    if isinstance(value, int) and value >= 1 << 20 and value % (1 << 20) == 0:
        return f"{value >> 20:,} MiB" if "BYTES" in name or "BODY" in name else f"{value:,}"
    if isinstance(value, int) and value >= 1 << 53:
        return f"10^{len(str(value)) - 1}" if str(value).strip("0") == "1" else f"{value:,}"
    return f"{value:,}"


def main() -> None:
    """Write every page anew."""
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
