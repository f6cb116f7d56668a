"""The newest report: built once for all who wait, rebuilt behind the back of whoever looks, never thrown away."""

from __future__ import annotations

import threading
from typing import Any

from wayline.serving.latest import Latest


class Builds:
    """Reports by number; the build waits where a test says so."""

    def __init__(self) -> None:
        self.count = 0
        self.fails = False
        self.may_end = threading.Event()
        self.may_end.set()

    def __call__(self) -> Any:
        self.count += 1
        number = self.count
        assert self.may_end.wait(5)
        if self.fails:
            raise ZeroDivisionError("a defect")
        return number


def latest_of(builds: Builds, now: list[float]) -> Latest:
    return Latest(builds, every=60.0, clock=lambda: now[0])


def test_nobody_looking_builds_nothing_and_many_looking_build_one() -> None:
    builds, now = Builds(), [1000.0]
    latest = latest_of(builds, now)
    assert builds.count == 0
    builds.may_end.clear()
    seen: list[Any] = []
    threads = [threading.Thread(target=lambda: seen.append(latest())) for _ in range(5)]
    for thread in threads:
        thread.start()
    builds.may_end.set()
    for thread in threads:
        thread.join()
    assert seen == [1] * 5 and builds.count == 1


def test_an_old_one_is_shown_at_once_while_the_new_one_is_built() -> None:
    builds, now = Builds(), [1000.0]
    latest = latest_of(builds, now)
    assert latest() == 1
    now[0] += 59
    assert latest() == 1 and builds.count == 1 and latest.age == 59
    now[0] += 2
    builds.may_end.clear()
    assert latest() == 1 and latest() == 1, "whoever looks waits for nobody"
    builds.may_end.set()
    latest.wait()
    assert builds.count == 2 and latest.age == 0 and latest() == 2


def test_a_build_that_fails_leaves_the_one_before_and_its_age_and_is_tried_again_a_minute_later() -> None:
    builds, now = Builds(), [1000.0]
    latest = latest_of(builds, now)
    latest()
    builds.fails = True
    now[0] += 61
    latest()
    latest.wait()
    assert latest() == 1 and builds.count == 2 and latest.age == 61
    builds.fails = False
    now[0] += 61
    latest()
    latest.wait()
    assert latest() == 3
