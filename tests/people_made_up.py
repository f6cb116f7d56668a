"""People who exist nowhere, for the tests of matching: the benchmark's, a few of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["benchmark", "made_up"]


def made_up(records: int, seed: int = 3) -> Any:
    """So many records as an Arrow table, with `person` as the truth."""
    return benchmark().made_up(records, seed)


def benchmark() -> ModuleType:
    """The benchmark as a module: it is no package."""
    path = Path(__file__).resolve().parent.parent / "benchmarks" / "identity.py"
    spec = importlib.util.spec_from_file_location("identity_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
