"""The reference page and the editors' schemas are what the compiler reads by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wayline.playbook import KINDS, schemas
from wayline.playbook.reference import page

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
WRITE_ANEW = """python - <<'END'
import json, pathlib
from wayline.playbook import schemas
from wayline.playbook.reference import page
pathlib.Path("docs/reference/playbook.md").write_text(page())
for name, schema in schemas().items():
    pathlib.Path(f"docs/reference/schemas/{name}.json").write_text(json.dumps(schema, indent=1) + "\\n")
END"""


def test_the_reference_page_is_what_the_shapes_say():
    written = (REFERENCE / "playbook.md").read_text("utf-8")
    assert written == page(), f"docs/reference/playbook.md is out of date; write it anew:\n{WRITE_ANEW}"


@pytest.mark.parametrize("name", KINDS)
def test_the_schemas_of_editors_are_what_the_shapes_say(name):
    written = json.loads((REFERENCE / "schemas" / f"{name}.json").read_text("utf-8"))
    said = json.loads(json.dumps(schemas()[name]))
    assert written == said, f"{name}.json is out of date; write it anew:\n{WRITE_ANEW}"


def test_every_field_has_a_heading_or_a_row():
    said = page()
    for name, (title, _) in KINDS.items():
        assert f"## {title}\n" in said, name
    for field in ("exits_match", "confidence_floor", "latest_per_key", "postal_address", "because", "patience"):
        assert f"`{field}`" in said, field


def test_a_schema_knows_a_good_file_from_a_bad_one():
    # Without a validator at hand: the shape of the schema itself, where an editor looks.
    journey = schemas()["journey"]
    assert journey["additionalProperties"] is False
    assert "owner" in journey["required"]
    steps = journey["properties"]["steps"]["additionalProperties"]["oneOf"]
    assert [step["required"][0] for step in steps] == ["wait", "when", "propose", "end"]
    assert journey["properties"]["stage"]["enum"][0] == "awareness"
