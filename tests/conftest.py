"""What every suite shares: where the public data are, and why a test that lacks them is skipped."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Give the path of one public data file, or skip and say how to have it."""

    def find(name: str) -> Path:
        folder = Path(os.environ.get("WAYLINE_DATA") or ROOT.parent / "shared" / "data")
        if not (folder / name).exists():
            pytest.skip(f"no public data: {name} is not at ../shared/data; set WAYLINE_DATA to the folder that has it")
        return folder / name

    return find
