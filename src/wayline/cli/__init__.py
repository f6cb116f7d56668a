"""The command line: each command is a few lines around what the rooms can do, and says what to do when it cannot.

Exit codes: 0 done; 1 the playbook, mapping or data has problems (they are printed); 2 the command was misspelt;
3 this installation is in the way (a lock, a disk, a port); 70 a defect of Wayline's.

`terminal` holds the program every module of commands adds to.
"""

from __future__ import annotations

import sys
import traceback
from typing import NoReturn

import typer

from wayline.cli import asking, catalog, decisions, history, identity, incoming, judging, keys, shop, sources
from wayline.cli.terminal import app
from wayline.errors import AuthorError, Broken, OperatorError, SenderError, WaylineError

__all__ = [
    "app",
    "asking",
    "catalog",
    "decisions",
    "history",
    "identity",
    "incoming",
    "judging",
    "keys",
    "main",
    "shop",
    "sources",
]


def main() -> NoReturn:
    """Run the command line; every error of ours ends as one message and an exit code that means something."""
    try:
        ended_with = app(standalone_mode=False)  # what Exit and Ctrl-C carry comes back; commands return nothing
    except (AuthorError, SenderError) as error:
        _fail(error, 1)
    except OperatorError as error:
        _fail(error, 3)
    except Broken as error:
        print(f"wayline: a defect of Wayline's, please report it: {error}", file=sys.stderr)
        sys.exit(70)
    except WaylineError as error:
        _fail(error, 70)
    except OSError as error:
        _fail(_in_the_way(error), 3)
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the top of the program: whatever nobody foresaw ends here
        code = _misspelt(error)
        if code is None:
            _own_up()
            code = 70
        sys.exit(code)
    sys.exit(ended_with or 0)


def _misspelt(error: Exception) -> int | None:
    """Typer's own complaints about a command line, printed as it would; None for anything else."""
    show = getattr(error, "show", None)
    if show is None:
        return None
    show()
    return int(getattr(error, "exit_code", 2))


def _in_the_way(error: OSError) -> OperatorError:
    """What the machine refused, where, and what to look at; whoever knows more says so nearer to the cause."""
    where = f"{error.filename}: " if error.filename else ""
    return OperatorError(
        f"{where}{error.strerror or error}. Look at the path, at whose it is and at the room on its disk, and run "
        f"the command again."
    )


def _own_up() -> None:
    traceback.print_exc()
    print("wayline: a defect of Wayline's, please report it with the lines above", file=sys.stderr)


def _fail(error: WaylineError, code: int) -> NoReturn:
    problems = getattr(error, "problems", ())
    print(f"wayline: {error}" if not problems else str(error), file=sys.stderr)
    if problems:
        print(f"wayline: {len(problems)} problem{'s' if len(problems) != 1 else ''}", file=sys.stderr)
    sys.exit(code)
