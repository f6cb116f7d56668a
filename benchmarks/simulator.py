"""How fast the simulated shop tells a full season, how much memory it takes, and whether it keeps to its rates.

Run: `python benchmarks/simulator.py [--customers N] [--days D] [--seed S]`. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from datetime import timedelta

from wayline.runtime.shop_check import check
from wayline.runtime.simulator import Shop


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--customers", type=int, default=25_000)
    arguments.add_argument("--days", type=int, default=90)
    arguments.add_argument("--seed", type=int, default=1)
    asked = arguments.parse_args()

    begun = time.process_time()
    shop = Shop(asked.seed, asked.customers, asked.days)
    opened = time.process_time()
    events, now = 0, shop.start
    while now < shop.end:
        events += len(shop.hour(now).messages)
        now += timedelta(hours=1)
    told = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    # Once more for the check: held all at once, a season needs more memory than an hour at a time.
    again = Shop(asked.seed, asked.customers, asked.days)
    hours = range(asked.days * 24)
    messages = [message for hour in hours for message in again.hour(again.start + hour * timedelta(hours=1)).messages]
    rows = check(messages, again.rates, customers=asked.customers, days=asked.days)
    print(
        json.dumps(
            {
                "benchmark": "simulator",
                "customers": asked.customers,
                "days": asked.days,
                "events": events,
                "cpu_seconds": round(told - begun, 2),
                "of_which_opening": round(opened - begun, 2),
                "events_per_cpu_second": round(events / (told - begun)),
                "memory_mb": round(peak),
                "orders": shop.orders,
                "rates_kept": f"{sum(row.holds for row in rows)}/{len(rows)}",
                "target": "540,000 events in < 8 s and < 500 MB",
            }
        )
    )


if __name__ == "__main__":
    main()
