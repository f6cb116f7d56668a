"""Whether a million records are put together in a minute: python benchmarks/identity.py [--records 1000000].

Makes up people in households, each with one or more damaged records, writes them to a Parquet file and lets the public
command find who is who, in a process of its own. Then asks for single new records among all of them. No number of the
matcher was set by what is made up here; that families must be a kind of pairs of their own was seen on it. Prints one
JSON line last.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
LETTERS = "abcdefghijklmnopqrstuvwxyz"
STARTS = re.findall(r"\w+", "b br c ch d dr f g gr h j k kl l m n p pr r s sch st t tr v w z")
MIDDLES = re.findall(r"\w+", "a e i o u ai au ei ie oo ea")
ENDS = re.findall(r"\w+", "n r l s t m nd rt ll ck ner man son berg ley ton")
Person = dict[str, "str | None"]


def words(luck: random.Random, count: int, syllables: int) -> list[str]:
    """Made-up names, all different."""
    found: dict[str, None] = {}
    while len(found) < count:
        middle = "".join(luck.choice(STARTS) + luck.choice(MIDDLES) for _ in range(syllables))
        found[(middle + luck.choice(ENDS)).capitalize()] = None
    return list(found)


def households(luck: random.Random, people: int) -> list[Person]:
    """People, some of whom live together: one surname, one address, often one telephone."""
    given, surnames = words(luck, 1_500, 1), words(luck, 25_000, 2)
    streets, cities = (
        [word + luck.choice([" Street", " Road", " Lane", " Close"]) for word in words(luck, 8_000, 2)],
        words(luck, 900, 2),
    )
    given_odds = np.cumsum(1 / np.arange(1, len(given) + 1) ** 0.8).tolist()
    surname_odds = np.cumsum(1 / np.arange(1, len(surnames) + 1) ** 0.75).tolist()
    places = [(luck.choice(cities), f"{luck.randrange(1_000, 99_999):05}") for _ in range(9_000)]
    mails = ["post.example", "mail.example", "web.example", "box.example"]
    found: list[Person] = []
    while len(found) < people:
        surname = luck.choices(surnames, cum_weights=surname_odds)[0]
        city, postcode = luck.choice(places)
        street = f"{luck.randrange(1, 180)} {luck.choice(streets)}"
        shared = f"0{luck.randrange(10**8, 10**9)}"
        for _ in range(luck.choices((1, 2, 3, 4), weights=(55, 25, 12, 8))[0]):
            first = luck.choices(given, cum_weights=given_odds)[0]
            born = date(1935, 1, 1) + timedelta(days=luck.randrange(365 * 72))
            name = (
                f"{first}.{surname}{luck.randrange(100)}"
                if luck.random() < 0.7
                else f"{luck.choice(LETTERS)}{surname}{born.year % 100}"
            )
            found.append({
                "first_name": first, "last_name": surname, "birthday": born.isoformat(), "address": street,
                "zip": postcode, "town": city,
                "mail": f"{name.lower()}@{luck.choice(mails)}" if luck.random() < 0.85 else None,
                "mobile": shared if (chance := luck.random()) < 0.32 else
                          f"0{luck.randrange(10**8, 10**9)}" if chance < 0.8 else None,
            })  # fmt: skip
    return found[:people]


def typed_wrong(luck: random.Random, text: str) -> str:
    """One slip of the finger."""
    at = luck.randrange(len(text))
    other = luck.choice("0123456789" if text[at].isdigit() else LETTERS)
    return luck.choice((
        text[:at] + other + text[at + 1 :],
        text[:at] + text[at + 1 :],
        text[:at] + other + text[at:],
        text[:at] + text[at : at + 2][::-1] + text[at + 2 :],
    ))  # fmt: skip


def written_again(luck: random.Random, person: Person, other: Person) -> Person:
    """The same person as another system has them: slips, gaps, exchanged fields, a new address, a new e-mail."""
    record = dict(person)
    if luck.random() < 0.03:
        record["first_name"], record["last_name"] = record["last_name"], record["first_name"]
    elif luck.random() < 0.05 and record["first_name"]:
        record["first_name"] = record["first_name"][0]
    if luck.random() < 0.05 and (record["birthday"] or "").count("-") == 2:
        year, month, day = record["birthday"].split("-")
        record["birthday"] = f"{year}-{day}-{month}"
    if luck.random() < 0.12:
        record |= {name: other[name] for name in ("address", "zip", "town")}
    if luck.random() < 0.2:
        record["mail"] = (
            other["mail"]
            and f"{luck.choice(LETTERS)}{luck.randrange(10**5)}{other['mail'].split('@')[0][-4:]}@new.example"
        )
    for name, text in record.items():
        chance = luck.random()
        if chance < 0.08:
            record[name] = None
        elif chance < 0.2 and text:
            record[name] = typed_wrong(luck, text)
    return record


def made_up(records: int, seed: int) -> pa.Table:
    """Records in random order; `person` is the truth. Three in ten are somebody's second or later one."""
    luck = random.Random(seed)
    people = households(luck, int(records * 0.72))
    rows = [(number, person) for number, person in enumerate(people)]
    while len(rows) < records:
        number = luck.randrange(len(people))
        rows.append((number, written_again(luck, people[number], people[luck.randrange(len(people))])))
    luck.shuffle(rows)
    columns = {name: [record[name] for _, record in rows] for name in people[0]}
    return pa.table({"record_id": list(range(len(rows))), **columns, "person": [number for number, _ in rows]})


def asked_one_by_one(path: Path, seed: int, count: int) -> dict[str, Any]:
    """New records of known people, each looked for among all: how long that takes, and whose they were said to be."""
    from wayline.runtime import match_index, matching

    table = pq.read_table(path)
    columns = [name for name in table.column_names if name not in ("record_id", "person")]
    records = matching.open_records(table, hidden=["person"])
    resolved = matching.resolve(records)
    started = time.process_time()
    index = match_index.Index(records, resolved.model, [str(person) for person in table["person"].to_pylist()])
    made_in = time.process_time() - started
    luck = random.Random(seed + 1)
    mine, others = (table.take([luck.randrange(len(table)) for _ in range(count)]).to_pylist() for _ in range(2))
    clock, processor, right, wrong = [], [], 0, 0
    for one, other in zip(mine, others, strict=True):
        record = written_again(luck, {name: one[name] for name in columns}, {name: other[name] for name in columns})
        at, used = time.perf_counter(), time.process_time()
        found = index.match_one(record)
        clock.append((time.perf_counter() - at) * 1e3)
        processor.append((time.process_time() - used) * 1e3)
        is_told = bool(found) and found[0].confidence >= 0.5
        right += is_told and found[0].owner == str(one["person"])
        wrong += is_told and found[0].owner != str(one["person"])
    shares = {"p50": 50, "p99": 99}
    return {
        "one_ms": {name: round(float(np.percentile(clock, share)), 1) for name, share in shares.items()},
        "one_processor_ms": {name: round(float(np.percentile(processor, share)), 1) for name, share in shares.items()},
        "one_target_ms_p99": 50,
        "one_right": right / count,
        "one_wrong": wrong / count,
        "index_processor_seconds": round(made_in, 1),
    }


def evaluated(path: Path) -> dict[str, Any]:
    """What the public command says of a file, run by itself so that its memory is its own."""
    command = [sys.executable, "-m", "wayline.cli", "identity", "evaluate", str(path), "--truth", "person", "--json"]
    paths = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    told = subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": paths})
    return json.loads(told.stdout)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--records", type=int, default=1_000_000)
    options.add_argument("--single", type=int, default=1_000, help="records asked for one by one")
    options.add_argument("--seed", type=int, default=7)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "people.parquet"
        pq.write_table(made_up(given.records, given.seed), path)
        print(f"{given.records:,} records made up", file=sys.stderr)
        started = time.monotonic()
        made = evaluated(path)
        whole = time.monotonic() - started
        one_by_one = asked_one_by_one(path, given.seed, given.single)
    figures = {
        "benchmark": "identity",
        "records": made["records"],
        "compared_pairs": made["compared_pairs"],
        "seconds": round(whole, 1),
        "processor_seconds": made["processor_seconds"],
        "target_seconds": 60,
        "memory_mb": made["memory_mb"],
        "target_memory_mb": 4096,
        "precision": made["chosen"]["precision"],
        "recall": made["chosen"]["recall"],
        "f1": made["chosen"]["f1"],
        "best_f1_by_one_threshold": made["best"]["f1"],
        "expected_pairs": made["expected_pairs"],
        "true_pairs": made["true_pairs"],
        **one_by_one,
        "load": os.getloadavg()[0],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
