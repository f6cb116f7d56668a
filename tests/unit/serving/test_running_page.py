"""What the page on running a shop says is so: its settings compile, its answers and paths exist, its command runs."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent

from tests.shop import APPAREL

from wayline.observation.proofs import read_identity
from wayline.playbook import check_playbook
from wayline.playbook.sources import SCOPES
from wayline.runtime.folders import read_files
from wayline.serving import bodies, collector

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "how-to" / "run.md").read_text("utf-8")
REFERENCE = (ROOT / "docs" / "reference" / "collector.md").read_text("utf-8")


def test_its_settings_compile_together() -> None:
    said = "\n".join(re.findall(r"```toml\n(.*?)```", PAGE, re.S))
    files = read_files(APPAREL)
    for name in re.findall(r"^\[([\w.]+)\]$", said, re.M):
        # The page's own words stand instead of the example's.
        files["wayline.toml"] = re.sub(
            rf"^\[{re.escape(name)}\]\n(?:[^\[\n].*\n)*", "", files["wayline.toml"], flags=re.M
        )
    files["wayline.toml"] += "\n" + said
    checked = check_playbook(files)
    assert checked.problems == () and checked.playbook is not None
    assert set(checked.playbook.settings["sources"]) == {"web", "server"}
    assert checked.playbook.settings["channels"]["email"]["password_env"] == "LARKFELL_SMTP_PASSWORD"


def test_every_path_and_code_of_the_collector_is_on_its_page() -> None:
    source = "".join(Path(each.__file__).read_text("utf-8") for each in (collector, bodies))
    codes = set(re.findall(r'Refused\(\s*\d+,\s*"(\w+)"', source))
    assert len(codes) > 15 and {code for code in codes if f"`{code}`" not in REFERENCE} == set()
    for path in (*collector.BATCHES, *collector.SINGLES, *collector.PIXELS):
        assert f"{path}`" in REFERENCE, path
    assert {scope for scope in SCOPES if f"`{scope}`" not in REFERENCE} == set()


def test_its_tokens_are_signed_as_it_says() -> None:
    page = (ROOT / "docs" / "how-to" / "identity-token.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)\n *```", page, re.S)
    shown = dedent(code)
    made = subprocess.run(
        [sys.executable, "-c", shown + "\nprint(identity_token('ann', 'ann@example.com'))"],
        capture_output=True, text=True, check=True,
        env={"LARKFELL_IDENTITY_SECRET": "of thirty-two characters or more"},
    )  # fmt: skip
    named = read_identity(made.stdout.strip(), b"of thirty-two characters or more", datetime.now(UTC))
    assert named == {"user_id": "ann", "email": "ann@example.com"}
