"""What the page on running a shop says is so: its settings compile, its answers and paths exist, its command runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.shop import APPAREL

from wayline.playbook import check_playbook
from wayline.runtime.folders import read_files
from wayline.serving import collector

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "how-to" / "run.md").read_text("utf-8")


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


def test_every_path_and_code_of_the_collector_is_on_it() -> None:
    source = Path(collector.__file__).read_text("utf-8")
    codes = set(re.findall(r'_Refused\(\s*\d+,\s*"(\w+)"', source)) - {"method", "encoding", "rejected", "defect"}
    assert codes and {code for code in codes if f"`{code}`" not in PAGE} == set()
    for path in re.findall(r'"(/(?:v1|beacon)/[\w/]+)"', source):
        assert path in PAGE, path


def test_the_pair_of_keys_it_makes_is_one() -> None:
    from wayline.serving.collector import Keys, Sender

    (code,) = re.findall(r'^python3 -c "(.*)"$', PAGE, re.M)
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    key, hashed = made.stdout.split()
    assert Keys({"server": {"secret_key_sha256": hashed}}).sender(key) == Sender("server", trusted=True)
