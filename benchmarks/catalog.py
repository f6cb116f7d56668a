"""100,000 products of a feed: into the log, and from there onto the shelf of a running engine.

    python benchmarks/catalog.py [--products 100000]

Makes a Merchant feed in XML and the same as CSV, brings each into a new store on disk, and has the engine read what was
stored. CPU seconds, since other things may run beside; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from wayline.playbook import compile_playbook
from wayline.runtime.cataloguing import FeedSettings, bring_catalog, current_shelf
from wayline.runtime.embedded import Embedded
from wayline.runtime.folders import example_folder, read_files
from wayline.store.opening import open_store

NOW = datetime.now(UTC)


def feeds(folder: Path, count: int) -> dict[str, Path]:
    """The same products as CSV and as XML."""
    rows = [
        (
            f"sku-{n}", f"style-{n // 6}", f"Rain jacket {n // 6}", f"Clothing > Jackets > Kind {n % 40}",
            f"{20 + n % 90}.90", "in_stock" if n % 11 else "out_of_stock",
            f"https://shop.example/p/{n // 6}?variant={n}", "red" if n % 2 else "blue", "M",
        )
        for n in range(count)
    ]  # fmt: skip
    names = ("id", "item_group_id", "title", "product_type", "price", "availability", "link", "color", "size")
    table, xml = folder / "feed.csv", folder / "feed.xml"
    table.write_text("\n".join([",".join(names), *(",".join(row) for row in rows)]))
    with xml.open("w") as out:
        out.write('<rss xmlns:g="http://base.google.com/ns/1.0"><channel><title>Shop</title>\n')
        for row in rows:
            cells = "".join(f"<g:{name}>{escape(cell)}</g:{name}>" for name, cell in zip(names, row, strict=True))
            out.write(f"<item>{cells}</item>\n")
        out.write("</channel></rss>\n")
    return {"csv": table, "xml": xml}


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """CPU seconds, wall seconds, and what came of it."""
    cpu, wall = time.process_time(), time.perf_counter()
    done = work()
    return time.process_time() - cpu, time.perf_counter() - wall, done


def measured(kind: str, path: Path, folder: Path, count: int) -> dict[str, Any]:
    """One form: stored, read by the engine, and offered again."""
    playbook = compile_playbook(read_files(example_folder()))
    settings = FeedSettings(is_whole=True)
    with open_store(folder / f"store-{kind}") as store:

        def bring() -> Any:
            return bring_catalog(path, store, playbook.settings, settings, NOW)

        cpu, wall, done = timed(bring)
        assert done.report.stored == count, done
        engine = Embedded(store.log, store.state, store.vault, playbook, {})
        read, read_wall, _ = timed(lambda: engine.catch_up(NOW))
        again, _, twice = timed(bring)
        assert twice.report.duplicates == count and twice.vanished == 0
        assert len(current_shelf(store, playbook.settings)) == count
    print(
        f"{kind}: stored in {cpu:.1f} s CPU ({wall:.1f} s), read by the engine in {read:.1f} s CPU "
        f"({read_wall:.1f} s), offered again in {again:.1f} s CPU"
    )
    return {
        f"{kind}_stored_cpu_s": round(cpu, 2),
        f"{kind}_engine_cpu_s": round(read, 2),
        f"{kind}_products_per_cpu_s": round(count / cpu),
    }


def main() -> None:
    """Measure both forms, once each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--products", type=int, default=100_000)
    count = parser.parse_args().products
    found: dict[str, Any] = {"benchmark": "catalog", "products": count}
    with tempfile.TemporaryDirectory() as folder:
        for kind, path in feeds(Path(folder), count).items():
            found |= measured(kind, path, Path(folder), count)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
