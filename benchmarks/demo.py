"""The demo: a season of the simulated shop, from the first event to a report with numbers in it.

    python benchmarks/demo.py [--customers 25000] [--days 90]

The whole command as a person runs it, in a process of its own, on disk. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--customers", type=int, default=25_000)
    arguments.add_argument("--days", type=int, default=90)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shop, report = Path(folder) / "shop", Path(folder) / "report.json"
        size = ["--customers", str(chosen.customers), "--days", str(chosen.days)]
        command = [sys.executable, "-m", "wayline.cli", "demo", "--no-serve", *size]
        command += ["--folder", str(shop), "--json", str(report)]
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - begun
        counts = msgspec.json.decode(report.read_bytes())["counts"]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        json.dumps(
            {
                "benchmark": "demo",
                "customers": chosen.customers,
                "days": chosen.days,
                "seconds": round(seconds, 1),
                "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
                "rss_mb": round(used.ru_maxrss / 1024),
                "counts": counts,
            }
        )
    )


if __name__ == "__main__":
    main()
