"""The style, enforced: layers, purity, budgets, words. Each rule says what is wrong and ends with the way out."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "wayline"
Rule = Callable[[str, ast.Module, str], Iterator[str]]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

LAYERS = """
errors __version__ / conditions / domain / observation / interpretation / measurement / governance / orchestration
/ engine / playbook / channels store sources / runtime / serving / cli __main__
"""
RANK = {room: rank for rank, rooms in enumerate(LAYERS.split("/")) for room in rooms.split()}
THINKING = {room for room, rank in RANK.items() if rank <= RANK["playbook"]}

IMPURE_MODULES = """
apsw asyncio concurrent deltalake duckdb glob httpx io logging multiprocessing os pathlib psycopg random requests
secrets select shutil signal smtplib socket sqlite3 ssl starlette structlog subprocess sys tempfile threading time
urllib uuid uvicorn
"""
IMPURE_CALLS = {"breakpoint", "eval", "exec", "exit", "globals", "hash", "id", "input", "open", "print", "vars"}
CLOCKS = {"now", "today", "utcnow"}
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}
GENERATIVE = {"anthropic", "openai"}
HEAVY = set(
    re.findall(r"\w+", "deltalake duckdb lightgbm plotly polars pyarrow rich scipy sklearn splink sqlglot uvicorn")
)
MAY_BE_HEAVY = {"store/lake.py", "store/warehouse.py"}  # loaded by need, in a process of their own
IDLE_PATH = ("conditions", "domain", "engine", "playbook", "channels", "store", "sources", "runtime.embedded", "cli")

LINES_MAX, FUNCTION_MAX, FUNCTION_P95_MAX, COMPLEXITY_MAX, NESTING_MAX, PARAMETERS_MAX = 600, 70, 40, 10, 3, 5
# Budgets not kept, as "file: function: budget". This list only ever shrinks.
EXCEPTIONS = {"domain.py: file:"}  # all the nouns on one page: two thirds of it are fields and what they mean
FORBIDDEN_MODULES = {"base", "common", "core", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}

INSTEAD = {
    word: instead
    for each in """
    blacklist: suppression | whitelist: eligibility | canvas: journey | workflow: journey | dispatch: deliver
    segment: audience, or step | dnd: quiet_hours | impression: exposure | touchpoint: contact | precondition: claim
    insight: estimate | variation: arm, or variant | validator: gate | tick: turn | profile: customer | user: customer
    lead: customer | origin: source | uuid: event_id | uid: identifier | ts: a name that ends in _at
    cfg: settings | conn: connection | ctx: context | evt: event | idx: index | msg: message | num: count
    req: request | resp: response | val: value | flag: an assertion such as is_open | data: what it holds
    info: what it tells | obj: what it is | tmp: what it is | fn: what it does | func: what it does
    handler: what it does | helper: what it does | manager: what it does | process: what it does | util: what it does
    """.replace("\n", "|").split("|")
    for word, _, instead in [each.strip().partition(": ")]
    if word
}
DICTATED = {"data_received", "user_id"}  # names that a protocol outside our hands prescribes


@cache
def modules() -> dict[str, tuple[ast.Module, str]]:
    """Every module of the product, by its path inside the package."""
    texts = {path.relative_to(SOURCE).as_posix(): path.read_text() for path in sorted(SOURCE.rglob("*.py"))}
    return {name: (ast.parse(text), text) for name, text in texts.items()}


def room_of(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


def imports(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def at_module_level(tree: ast.Module) -> Iterator[ast.AST]:
    """Statements that run on import: what stands under TYPE_CHECKING does not."""
    for node in tree.body:
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield from ast.walk(node) if isinstance(node, ast.If | ast.Try | ast.With) else (node,)


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]


# ------------------------------------------------------------------ rules


def one_way(file: str, tree: ast.Module, text: str) -> Iterator[str]:
    room = room_of(file)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{file}:{node.lineno}: a relative import; write the whole name"
        for name in imports(node):
            parts = name.split(".")
            if parts[0] != "wayline" or len(parts) < 2 or room == "__init__":
                continue
            known = parts[1] in RANK and room in RANK
            if not known or (parts[1] != room and RANK[parts[1]] >= RANK[room]):
                yield f"{file}:{node.lineno}: '{room}' may not import '{parts[1]}'; imports go down the table LAYERS"


def thinks_only(file: str, tree: ast.Module, text: str) -> Iterator[str]:
    if room_of(file) not in THINKING:
        return
    within_hash = {id(node) for each in functions(tree) if each.name == "__hash__" for node in ast.walk(each)}
    for node in ast.walk(tree):
        for name in imports(node):
            if name.split(".")[0] in IMPURE_MODULES.split():
                yield f"{file}:{node.lineno}: imports {name}; the thinking half touches nothing: take it as a value"
        if isinstance(node, ast.Attribute) and re.fullmatch(r"(np|numpy)\.random", ast.unparse(node)):
            yield f"{file}:{node.lineno}: draws randomness; derive a seed from the decision's id"
        if not isinstance(node, ast.Call) or id(node) in within_hash:
            continue
        called = ast.unparse(node.func)
        if called in IMPURE_CALLS:
            yield f"{file}:{node.lineno}: calls {called}(); the thinking half is pure and the same in every process"
        if called.split(".")[-1] in CLOCKS and re.search(r"(^|\.)(datetime|date)\.\w+$", called):
            yield f"{file}:{node.lineno}: reads the clock by {called}(); take `now` as an argument"


def safe_imports(file: str, tree: ast.Module, text: str) -> Iterator[str]:
    for node in ast.walk(tree):
        for name in imports(node):
            top = name.split(".")[0]
            if top in UNSAFE_MODULES or name.startswith("unittest"):
                yield f"{file}:{getattr(node, 'lineno', 0)}: imports {name}; it is banned (no pickles, no mocks)"
            if top in GENERATIVE and file not in ("serving/review.py", "serving/assistant.py"):
                yield f"{file}:{getattr(node, 'lineno', 0)}: imports {name}; only the review calls a generative model"


def heavy_is_lazy(file: str, tree: ast.Module, text: str) -> Iterator[str]:
    for node in at_module_level(tree) if file not in MAY_BE_HEAVY else ():
        for name in imports(node):
            if name.split(".")[0] in HEAVY:
                yield f"{file}:{getattr(node, 'lineno', 0)}: imports {name} on import; import it where it is used"


def tables_stay_in_store(file: str, tree: ast.Module, text: str) -> Iterator[str]:
    for node in ast.walk(tree) if room_of(file) != "store" else ():
        text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
        if re.search(r"\b(INSERT INTO|CREATE TABLE|DELETE FROM)\b", text):
            yield f"{file}:{getattr(node, 'lineno', 0)}: writes SQL to a table; only the store knows a table name"


def complexity(function: ast.AST) -> int:
    counted = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.comprehension, ast.match_case)
    return 1 + sum(isinstance(node, counted) for node in ast.walk(function))


def nesting(node: ast.AST, depth: int = 0) -> int:
    deepest = depth
    for child in ast.iter_child_nodes(node):
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and child in node.orelse
        opens = isinstance(
            child, ast.If | ast.For | ast.AsyncFor | ast.While | ast.Try | ast.With | ast.AsyncWith | ast.Match
        )
        inner = 0 if isinstance(child, FUNCTIONS) else nesting(child, depth + (opens and not is_elif))
        deepest = max(deepest, inner)
    return deepest


def budgets(file: str, tree: ast.Module, text: str) -> Iterator[str]:
    if text.count("\n") > LINES_MAX:
        yield f"{file}: file: {text.count(chr(10))}, at most {LINES_MAX} lines; find the second idea in it"
    for each in functions(tree):
        positional = [a.arg for a in (*each.args.posonlyargs, *each.args.args) if a.arg not in ("self", "cls")]
        lines = (each.end_lineno or each.lineno) - each.lineno + 1
        measured = (("lines", lines, FUNCTION_MAX), ("complexity", complexity(each), COMPLEXITY_MAX),
            ("nesting", nesting(each), NESTING_MAX), ("parameters", len(positional), PARAMETERS_MAX))  # fmt: skip
        yield from (f"{file}: {each.name}: {what} {n}, at most {most}" for what, n, most in measured if n > most)


def docstrings(file: str, tree: ast.Module, text: str) -> Iterator[str]:
    for where, node in [(file, tree), *public(file, tree)]:
        first = (ast.get_docstring(node) or "").split("\n")[0]
        if not re.search(r"[.]['\")]*$|[?]['\")]+$", first):
            yield f"{where}: its docstring's first line must be a sentence with a full stop; it is {first!r}"
        if re.match(r"(Represents|This|Helper)\b", first):
            yield f"{where}: say what it is; do not begin with {first.split()[0]!r}"


def public(file: str, tree: ast.Module) -> Iterator[tuple[str, ast.AsyncFunctionDef | ast.FunctionDef | ast.ClassDef]]:
    """Public functions, classes and their methods. A method promised by a protocol is documented there, once."""
    for node in tree.body:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and not node.name.startswith("_"):
            yield f"{file}:{node.lineno}: {node.name}", node
            for method in node.body if isinstance(node, ast.ClassDef) else ():
                promised = isinstance(method, FUNCTIONS) and method.name in promises() and not is_protocol(node)
                if isinstance(method, FUNCTIONS) and not method.name.startswith("_") and not promised:
                    yield f"{file}:{method.lineno}: {node.name}.{method.name}", method


def is_protocol(node: ast.ClassDef) -> bool:
    return any("Protocol" in ast.unparse(base) for base in node.bases)


@cache
def promises() -> set[str]:
    """Names of the methods that protocols promise."""
    classes = (node for tree, _ in modules().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    return {each.name for node in classes if is_protocol(node) for each in node.body if isinstance(each, FUNCTIONS)}


def exports(file: str, tree: ast.Module, text: str) -> Iterator[str]:
    defined: set[str] = set()
    listed: list[str] = []
    for node in tree.body:
        names = names_bound(node)
        defined.update(name for name in names if not name.startswith("_"))
        if names == ["__all__"] and isinstance(node, ast.Assign):
            listed = ast.literal_eval(node.value)
    if defined - set(listed):
        yield f"{file}: __all__ lacks {sorted(defined - set(listed))}; list it, or begin its name with _"
    if listed != sorted(listed, key=lambda name: (0 if name.isupper() else 1 if name[0].isupper() else 2, name)):
        yield f"{file}: __all__ is not sorted: CONSTANTS, then Types, then functions, each by name"


def names_bound(node: ast.stmt) -> list[str]:
    """The names a statement of a module defines."""
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    return [target.id for target in targets if isinstance(target, ast.Name)]


def words(file: str, tree: ast.Module, text: str) -> Iterator[str]:
    if set(Path(file).with_suffix("").parts) & FORBIDDEN_MODULES:
        yield f"{file}: if it has no name it has no home: call the module by its idea"
    for node in ast.walk(tree):
        name = getattr(node, "name", None) if isinstance(node, (*FUNCTIONS, ast.ClassDef)) else None
        name = node.arg if isinstance(node, ast.arg) else name
        name = node.id if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else name
        for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name or "") if name not in DICTATED else ():
            said = word.lower() if word.lower() in INSTEAD else word.lower().removesuffix("s")
            if said in INSTEAD and not (name or "").isupper():
                yield f"{file}:{node.lineno}: {name!r} says {word!r}; say {INSTEAD[said]}"


SILENCED = re.compile(
    r"#\s*type:\s*ignore(?!\[[\w, -]+\]\s+#\s*\w+)|#\s*noqa(?!: [A-Z]+\d+(, ?[A-Z]+\d+)*\s+(-|#)\s*\w+)"
)


def remarks(file: str, tree: ast.Module, text: str) -> Iterator[str]:
    for number, line in enumerate(text.split("\n"), 1):
        if re.search(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))", line):
            yield f"{file}:{number}: an open end without a ticket: write TODO(#n), or do it"
        if SILENCED.search(line):
            yield f"{file}:{number}: say which check is silenced and why: `# type: ignore[code]  # because ...`"
    if "from __future__ import annotations" not in text and functions(tree):
        yield f"{file}: lacks `from __future__ import annotations`"


RULES: tuple[Rule, ...] = (
    one_way, thinks_only, safe_imports, heavy_is_lazy, tables_stay_in_store,
    budgets, docstrings, exports, words, remarks,
)  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_product_keeps(rule: Rule) -> None:
    found = [wrong for file, (tree, text) in modules().items() for wrong in rule(file, tree, text)]
    wrong = [each for each in found if re.sub(r" \d+, at most.*", "", each) not in EXCEPTIONS]
    assert not wrong, "\n" + "\n".join(wrong)


BITES = {
    "one_way": ("domain.py", "from wayline.engine import take_turn"),
    "one_way, sideways": ("channels/email.py", "import wayline.store.sqlite"),
    "one_way, unheard of": ("store/lake.py", "from wayline.attic import x"),
    "thinks_only": ("engine.py", "import random"),
    "thinks_only, clock": ("engine.py", "import datetime\nx = datetime.datetime.now()"),
    "thinks_only, call": ("governance/audit.py", "print('x')"),
    "safe_imports": ("store/lake.py", "import pickle"),
    "safe_imports, mocks": ("store/lake.py", "from unittest.mock import Mock"),
    "heavy_is_lazy": ("conditions.py", "try:\n    import sqlglot\nexcept ImportError:\n    raise"),
    "tables_stay_in_store": ("runtime/server.py", "x = 'DELETE FROM events'"),
    "budgets, lines": ("engine.py", "def f():\n" + "    x()\n" * 71),
    "budgets, file": ("engine.py", "x()\n" * 601),
    "budgets, complexity": ("engine.py", "def f():\n" + "    if x: pass\n" * 10),
    "budgets, nesting": (
        "engine.py",
        "def f():\n    if x:\n        for y in x:\n            with y:\n                while y: pass",
    ),
    "budgets, parameters": ("engine.py", "def f(a, b, c, d, e, f): ..."),
    "docstrings": ("engine.py", '"""Fine."""\ndef f(): ...'),
    "docstrings, opening": ("engine.py", '"""Fine."""\ndef f():\n    """Represents a thing."""'),
    "exports": ("engine.py", "__all__ = []\ndef f(): ..."),
    "exports, order": ("engine.py", "__all__ = ['b', 'a']\na = b = 1"),
    "words": ("engine.py", "class UserProfile: ..."),
    "words, module": ("store/utils.py", "x = 1"),
    "remarks": ("engine.py", "x = 1  # " + "TODO later"),
    "remarks, silenced": ("engine.py", "x = 1  # type: " + "ignore"),
}


@pytest.mark.parametrize("case", BITES)
def test_each_rule_bites(case: str) -> None:
    file, text = BITES[case]
    assert list(globals()[case.split(",")[0]](file, ast.parse(text), text))


def test_exceptions_only_shrink() -> None:
    found = {
        re.sub(r" \d+, at most.*", "", wrong)
        for file, (tree, text) in modules().items()
        for wrong in budgets(file, tree, text)
    }
    assert not EXCEPTIONS - found, "kept its budget; take it off EXCEPTIONS"


def test_most_functions_are_short() -> None:
    lengths = sorted((f.end_lineno or 0) - f.lineno + 1 for tree, _ in modules().values() for f in functions(tree))
    assert lengths[len(lengths) * 95 // 100] <= FUNCTION_P95_MAX


def test_an_idle_process_loads_nothing_heavy() -> None:
    names = [
        name for name in IDLE_PATH if (SOURCE / f"{name.replace('.', '/')}.py").exists() or (SOURCE / name).is_dir()
    ]
    script = (
        f"import sys, {', '.join(f'wayline.{name}' for name in names)}; print(*sorted(set(sys.modules) & {HEAVY!r}))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(SOURCE.parent)},
    )
    assert loaded.stdout.strip() == "", f"importing {names} loads {loaded.stdout.strip()}"


# ------------------------------------------------------------------ the repository


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: what is tracked cannot be told")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_lock_is_hashed_and_names_no_index() -> None:
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert [
        entry for entry in entries if not re.match(r"[\w.-]+==\S+ ?(;[^\n]*)?\\\n +--hash=sha256:[0-9a-f]{64}", entry)
    ] == []
    for file in (text, (ROOT / "pyproject.toml").read_text(), (ROOT / "Makefile").read_text()):
        assert not re.search(r"index-url [^-\s]|index-url=|find-links|file://|https?://[^ ]*(pypi|npmjs|debian)", file)


def test_tracked_files_are_small_and_name_no_machine() -> None:
    home = re.compile(rb"(?<![\w.])/(work|farm|root|home)/[a-z]|/tmp/[a-z]+/")
    for path in (path for path in tracked() if path.name != Path(__file__).name):
        content = path.read_bytes()
        assert len(content) < 1 << 20, f"{path}: over 1 MB; is it really source?"
        assert path.suffix in (".lock", ".js") or not home.search(content), f"{path}: names a path of one machine"


def test_no_test_uses_a_mock() -> None:
    for path in sorted((ROOT / "tests").rglob("*.py")):
        assert not list(safe_imports(path.name, ast.parse(path.read_text()), "")), f"{path}: fakes, not mocks"
