"""What is acknowledged is there: after a kill, on a full disk, on a failing one, under a lock, behind a seal."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec import msgpack

from wayline.domain import Decision, Event, Standing
from wayline.errors import Broken, OperatorError, StoreLocked, StoreUnavailable
from wayline.store import Batch, Rejection
from wayline.store.durable import Durable, check_library
from wayline.store.opening import open_collecting, open_store
from wayline.store.seal import MasterKey, Seal
from wayline.store.seen import SEEN_SCHEMA, Seen
from wayline.store.sqlite_log import SqliteLog
from wayline.store.told import Told, Weight

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CANARY = "canary.ann@example.org"
SEAL = Seal(bytes(32))


def event(number: int, **changes: Any) -> Event:
    at = NOON + timedelta(seconds=number)
    told: dict[str, Any] = {"event_id": f"e{number}", "source": "web", "name": "Product Viewed"} | changes
    return Event(occurred_at=at, received_at=at, **told)


def decision(number: int) -> Decision:
    return Decision(f"d{number:06}", "c1", NOON + timedelta(seconds=number), "owed", f"event:{number}", None)


# ------------------------------------------------------------------ opened again


def test_everything_is_there_when_opened_again(tmp_path: Path) -> None:
    rejected = Rejection(
        source="web", event_id="r", name="x", code="type", field="total", reason="no", received_at=NOON, body=b"{}"
    )
    with open_store(tmp_path) as store:
        store.log.append([event(1), event(2)], [rejected])
        store.state.commit(Batch(position=2, decisions=[decision(1)], standings={"c1": Standing(wake_at=NOON)}))
        store.vault.put({"email:1": {"name": "Ann"}})
        pseudonym = store.vault.keyed("email", CANARY)
    with open_store(tmp_path) as store:
        assert [one.event_id for one in store.log.read(0, 9)] == ["e1", "e2"]
        assert store.log.append([event(2), event(3), event(1, name="Other")]).head == 3
        assert store.log.counts() == {"stored": 3, "duplicate": 1, "conflict": 1, "rejected": 1}
        assert store.log.rejections() == [rejected]
        assert store.state.position() == 2 and store.state.due(NOON, 1) == [(NOON, "c1")]
        assert store.state.decision("d000001") == decision(1)
        assert store.vault.get(["email:1"]) == {"email:1": {"name": "Ann"}}
        assert store.vault.keyed("email", CANARY) == pseudonym


def test_a_folder_belongs_to_one_process(tmp_path: Path) -> None:
    script = "import sys, pathlib, wayline.store.opening as o; o.open_store(pathlib.Path(sys.argv[1]))"
    with open_store(tmp_path):
        with pytest.raises(StoreLocked, match=f"process {os.getpid()} has"):
            open_store(tmp_path)
        other = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False)
        assert f"StoreLocked: {tmp_path}: process {os.getpid()} has this folder open" in other.stderr
    open_store(tmp_path).close()


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.close()
    store.close()
    with pytest.raises(OperatorError, match="closed"):
        store.log.append([event(1)])
    with pytest.raises(OperatorError, match="closed"):
        store.state.load(["c1"])


# ------------------------------------------------------------------ kills


def _write_until_killed(folder: Path, acknowledged: Any) -> None:
    with open_store(folder) as store:
        number = store.log.head()
        while True:
            size = 1 + number % 7
            head = store.log.append([event(number + n) for n in range(size)]).head
            acknowledged.send(("log", head))
            due = range(store.state.position(), head)
            store.state.commit(Batch(position=head, decisions=[decision(n) for n in due]))
            acknowledged.send(("state", head))
            number = head


def test_r1_what_was_acknowledged_survives_kills(tmp_path: Path) -> None:
    """Killed at random moments: no acknowledged event is missing, every commit is whole."""
    spawn = multiprocessing.get_context("spawn")
    moments = random.Random(7)
    last = {"log": 0, "state": 0}
    for _ in range(6):
        receiving, sending = spawn.Pipe(duplex=False)
        writer = spawn.Process(target=_write_until_killed, args=(tmp_path, sending))
        writer.start()
        sending.close()
        receiving.poll(30)
        time.sleep(moments.uniform(0, 0.15))
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        try:
            while receiving.poll():
                part, head = receiving.recv()
                last[part] = head
        except EOFError:
            pass
        with open_store(tmp_path) as store:
            assert store.log.head() >= last["log"] > 0
            assert [one.position for one in store.log.read(0, 10**6)] == list(range(1, store.log.head() + 1))
            position = store.state.position()
            assert last["state"] <= position <= store.log.head()
            assert len(list(store.state.decisions())) == position, "a commit is whole or not at all"
            assert store.log.append([event(n) for n in range(position)]).stored == 0, "known after a kill"
            last["log"] = store.log.head()
    for name in ("log", "state", "vault"):
        assert apsw.Connection(str(tmp_path / f"{name}.sqlite")).pragma("integrity_check") == "ok"


# ------------------------------------------------------------------ the disk


class FaultyFile(apsw.VFSFile):
    """A file whose disk does as it is told."""

    def __init__(self, disk: FaultyDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__(disk.real, name, flags)

    def xWrite(self, written: bytes, offset: int) -> None:
        if self._disk.is_full:
            raise apsw.FullError("no space left")
        super().xWrite(written, offset)

    def xSync(self, mode: int) -> None:
        if self._disk.fails_to_sync:
            raise apsw.IOError("input/output error")
        super().xSync(mode)


class FaultyDisk(apsw.VFS):
    """The default file system with faults that can be switched on."""

    def __init__(self) -> None:
        self.is_full = False
        self.fails_to_sync = False
        self.real = apsw.vfs_names()[0]
        super().__init__("faulty", self.real)
        apsw.set_default_vfs("faulty")

    def xOpen(self, name: Any, flags: list[int]) -> FaultyFile:
        return FaultyFile(self, name, flags)

    def leave(self) -> None:
        apsw.set_default_vfs(self.real)
        self.unregister()


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    faulty = FaultyDisk()
    yield faulty
    faulty.leave()


def test_s28_a_full_disk_refuses_and_recovers(disk: FaultyDisk, tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.log.append([event(1)])
        store.state.commit(Batch(position=1, decisions=[decision(1)]))
        disk.is_full = True
        for write in (
            lambda: store.log.append([event(2)]),
            lambda: store.state.commit(Batch(position=2, decisions=[decision(2)])),
            lambda: store.vault.put({"email:1": {"name": "Ann"}}),
        ):
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="no room on the disk"):
                    write()
        assert store.log.head() == 1 and store.state.position() == 1
        assert store.state.decision("d000002") is None and store.vault.get(["email:1"]) == {}
        disk.is_full = False
        assert store.log.append([event(2)]).stored == 1
        store.state.commit(Batch(position=2, decisions=[decision(2)]))
        store.vault.put({"email:1": {"name": "Ann"}})
        assert [one.event_id for one in store.log.read(0, 9)] == ["e1", "e2"]
        assert store.state.position() == 2


def test_r6_after_a_failed_sync_nothing_more_is_written(disk: FaultyDisk, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.log.append([event(1)])
    disk.fails_to_sync = True
    with pytest.raises(StoreUnavailable, match="the disk failed"):
        store.log.append([event(2)])
    disk.fails_to_sync = False
    with pytest.raises(StoreUnavailable, match="restart"):
        store.log.append([event(3)])
    assert store.log.head() == 1 and [one.event_id for one in store.log.read(0, 9)] == ["e1"], "reading goes on"
    store.close()
    with open_store(tmp_path) as again:
        assert again.log.append([event(2), event(3)]).head == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"cannot mount a small disk ({made.stderr.strip()}); run the tests as root to have this one")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_r5_a_really_full_disk(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with open_store(small_disk) as store:
        ballast.write_bytes(b"x" * (1 << 20))
        acknowledged, refusals = 0, []
        for number in range(600):
            try:
                acknowledged += store.log.append([event(number, properties={"text": "x" * 4000})]).stored
            except StoreUnavailable as error:
                refusals.append(str(error))
        assert refusals and acknowledged and all("no room" in refusal for refusal in refusals)
        assert store.log.head() == acknowledged == len(store.log.read(0, 1000))
        ballast.unlink()
        assert store.log.append([event(number) for number in range(600)]).stored == 600 - acknowledged
    with open_store(small_disk) as store:
        assert store.log.head() == 600
        assert store.log.append([event(number) for number in range(600)]).stored == 0


# ------------------------------------------------------------------ order, keys, odd values


def test_s21_a_reader_that_follows_skips_nothing(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        followed: list[int] = []

        def follow() -> None:
            while len(followed) < 400:
                followed.extend(one.position for one in store.log.read(followed[-1] if followed else 0, 7))

        def write(half: int) -> None:
            for number in range(0, 200, 4):
                store.log.append([event(half + number + n) for n in range(4)])

        threads = [threading.Thread(target=follow), *(threading.Thread(target=write, args=(h,)) for h in (0, 1000))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert followed == list(range(1, 401))


def test_two_processes_may_take_turns_at_one_log(tmp_path: Path) -> None:
    with open_store(tmp_path) as store, open_collecting(tmp_path) as (log, vault):
        store.log.append([event(1)])
        assert log.append([event(1), event(2)]).head == 2
        assert store.log.head() == 2 and [one.event_id for one in store.log.named(["Product Viewed"])] == ["e1", "e2"]
        appended = store.log.append([event(2), event(3)])
        assert (appended.duplicates, appended.head) == (1, 3)
        assert vault.keyed("email", CANARY) == store.vault.keyed("email", CANARY)


def test_keys_are_known_across_chapters_and_reopenings(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    chosen = random.Random(3)
    for start in range(0, 1500, 300):
        log = SqliteLog(path, SEAL, chapter_keys=64)
        for first in range(start, start + 300, 50):
            again = [event(number) for number in chosen.sample(range(first + 1), min(first, 20))]
            appended = log.append([event(number) for number in range(first, first + 50)] + again)
            assert (appended.stored, appended.duplicates) == (50, len(again))
        assert log.append([event(chosen.randrange(start + 300), name="Other")]).conflicts == 1
        log.close()


def test_keys_of_one_hash_are_still_two_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wayline.store.encoding.key_hash", lambda source, event_id: len(event_id) - 2)
    path = tmp_path / "log.sqlite"
    for start in (0, 40, 80):
        log = SqliteLog(path, SEAL, chapter_keys=16)
        told = [event(number) for number in range(start, start + 40)]
        assert log.append(told[:30] + told[:30]).duplicates == 30
        assert log.append(told).stored == 10
        assert log.append([event(number) for number in range(start + 40)]).stored == 0
        log.close()


def test_a_chapter_that_is_not_committed_was_not_sealed(tmp_path: Path) -> None:
    file = Durable(tmp_path / "seen.sqlite", (SEEN_SCHEMA,), page_bytes=4096)
    seen = file.write(lambda connection: Seen(connection, 16))

    def fail(connection: apsw.Connection) -> None:
        seen.write(connection, 1, range(20))
        assert len(seen.seal_full_chapters(connection, 20)) == 1
        raise Broken("on purpose")

    with pytest.raises(Broken):
        file.write(fail)
    with file.reading() as connection:
        assert seen.find(connection, range(20)) == {} == Seen(connection, 16).find(connection, range(20))
    file.close()


@pytest.mark.parametrize("value", [2**70, "\ud800", object()], ids=["big", "surrogate", "object"])
def test_s14_a_value_no_file_can_hold_does_not_take_its_neighbours_along(tmp_path: Path, value: Any) -> None:
    with open_store(tmp_path) as store:
        appended = store.log.append([event(1), event(2, properties={"x": value}), event(3)])
        assert (appended.stored, appended.unstorable, appended.head) == (2, 1, 2)
        (rejected,) = store.log.rejections()
        assert (rejected.event_id, rejected.code) == ("e2", "unstorable") and store.log.counts()["rejected"] == 1
        assert store.log.append([event(2)]).stored == 1, "sent again as it should be, it is taken"


# ------------------------------------------------------------------ seals and keys


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_no_personal_value_lies_open_on_disk_and_none_is_left_when_forgotten(tmp_path: Path) -> None:
    body = CANARY.encode() * 3
    rejected = Rejection(
        source="web", event_id="r", name="x", code="c", field="f", reason=CANARY, received_at=NOON, body=body
    )
    with open_store(tmp_path) as store:
        store.vault.put({f"email:{n}": {"email": CANARY, "n": n} for n in range(50)})
        store.log.append([], [rejected])
        assert CANARY.encode() not in bytes_of(tmp_path)
        sealed = _row(tmp_path, "email:7")
        assert all(part in bytes_of(tmp_path) for part in sealed), "the scan does find what is there"
        assert store.vault.forget(["email:7"]) == 1
        assert not any(part in bytes_of(tmp_path) for part in sealed), "neither the key nor the sealed values are left"
        assert len(store.vault.get([f"email:{n}" for n in range(50)])) == 49


def test_what_another_process_forgot_is_stored_again_when_it_is_told_again(tmp_path: Path) -> None:
    told = {"email:1": {"email": "ann@example.org", "age": 41}, "email:2": {"email": "bob@example.org"}}
    with open_store(tmp_path) as store, open_collecting(tmp_path) as (_, collecting):
        collecting.put(told)
        collecting.put(told)  # known by heart now
        assert store.vault.forget(["email:1"]) == 1
        collecting.put(told)
        assert store.vault.get([*told]) == told
        collecting.forget(["email:1"])
        collecting.put(told)
        assert store.vault.get([*told]) == told


def test_a_value_that_returns_is_told_from_the_one_between(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for value in ("Ann", "Anna", "Ann", ["Ann"], None, 1, True, 1.0):
            store.vault.put({"email:1": {"name": value, "city": "Kiel"}})
            found = store.vault.get(["email:1"])["email:1"]
            assert found == {"name": value, "city": "Kiel"} and type(found["name"]) is type(value)


def test_s03_a_vault_of_before_there_were_weights_is_read_and_anything_told_is_newer(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.vault.put({"email:1": {"name": "Ann", "city": "Kiel"}})
    master = MasterKey.read(tmp_path / "master.key")
    wrapped, _ = _row(tmp_path, "email:1")
    seal = Seal(Seal(master.derive("subject keys")).open(wrapped, "email:1"))
    plain = seal.close(msgpack.encode({"name": "Ann", "city": "Kiel"}), "email:1")  # as version 1 wrote it
    connection = apsw.Connection(str(tmp_path / "vault.sqlite"))
    connection.execute("UPDATE subjects SET personal = ?", (plain,))
    connection.execute("DELETE FROM schema WHERE version > 1")
    connection.close()
    with open_store(tmp_path) as store:
        assert store.vault.get(["email:1"]) == {"email:1": {"name": "Ann", "city": "Kiel"}}
        store.vault.keep([Told({"email:1": {"name": "Eve"}}, Weight(False, NOON, "web", "e1"))])
        store.vault.keep([Told({"email:1": {"name": "Anna"}}, Weight(True, NOON, "web", "e2"))])
        assert store.vault.get(["email:1"]) == {"email:1": {"name": "Anna", "city": "Kiel"}}
    with open_store(tmp_path) as store:
        store.vault.keep([Told({"email:1": {"name": "Ann"}}, Weight(True, NOON - MINUTE, "web", "e1"))])
        assert store.vault.get(["email:1"]) == {"email:1": {"name": "Anna", "city": "Kiel"}}, "also when opened again"


def test_what_is_told_again_is_written_now_and_then_only(tmp_path: Path) -> None:
    def says(minute: int, name: str = "Ann") -> list[Told]:
        return [Told({"email:1": {"name": name}}, Weight(True, NOON + minute * MINUTE, "web", f"e{minute}"))]

    with open_store(tmp_path) as store:
        store.vault.keep(says(0))
        first = _row(tmp_path, "email:1")
        store.vault.keep(says(50))
        assert _row(tmp_path, "email:1") == first, "remembered, not written"
        store.vault.keep(says(40, "Old"))
        assert store.vault.get(["email:1"]) == {"email:1": {"name": "Ann"}}
        store.vault.keep(says(90))
        assert _row(tmp_path, "email:1") != first
    with open_store(tmp_path) as store:
        store.vault.keep(says(80, "Old"))
        assert store.vault.get(["email:1"]) == {"email:1": {"name": "Ann"}}


def _row(folder: Path, subject: str) -> tuple[bytes, bytes]:
    connection = apsw.Connection(str(folder / "vault.sqlite"))
    row = connection.execute("SELECT subject_key, personal FROM subjects WHERE subject = ?", (subject,)).fetchone()
    connection.close()
    return row  # type: ignore[return-value]  # two blobs, by the schema


def test_a_sealed_value_opens_only_where_it_was_put(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.vault.put({"email:1": {"name": "Ann"}, "email:2": {"name": "Bob"}})
    swap = "UPDATE subjects SET subject_key = (SELECT subject_key FROM subjects WHERE subject = 'email:2')"
    connection = apsw.Connection(str(tmp_path / "vault.sqlite"))
    connection.execute(swap)
    connection.close()
    with open_store(tmp_path) as store, pytest.raises(OperatorError, match="email:1: it does not open"):
        store.vault.get(["email:1"])


def test_the_master_key_is_guarded(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    key = tmp_path / "master.key"
    secret = key.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600 and len(secret) == 32
    assert secret not in b"".join((tmp_path / f"{name}.sqlite").read_bytes() for name in ("log", "state", "vault"))
    key.chmod(0o640)
    with pytest.raises(OperatorError, match="chmod 600"):
        open_store(tmp_path)
    key.unlink()
    with pytest.raises(OperatorError, match="master key is gone"):
        open_store(tmp_path)
    assert not key.exists(), "no new key takes the place of a lost one"
    MasterKey.create(key)
    with pytest.raises(OperatorError, match="another master key"):
        open_store(tmp_path)
    with pytest.raises(FileExistsError):
        MasterKey.create(key)
    key.write_bytes(secret[:31])
    with pytest.raises(OperatorError, match="expected 32 bytes, found 31"):
        open_store(tmp_path)
    key.write_bytes(secret)
    open_store(tmp_path).close()


def test_the_key_may_lie_elsewhere_and_then_the_folder_alone_opens_nothing(tmp_path: Path) -> None:
    with open_store(tmp_path / "shop", key_file=tmp_path / "elsewhere" / "shop.key") as store:
        store.vault.put({"email:1": {"name": "Ann"}})
    assert not (tmp_path / "shop" / "master.key").exists()
    with pytest.raises(OperatorError, match="master key is gone"):
        open_store(tmp_path / "shop")


# ------------------------------------------------------------------ versions


def test_an_upgrade_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    steps = ("CREATE TABLE one (a TEXT)", "ALTER TABLE one ADD COLUMN b TEXT", "CREATE TABLE three (c TEXT)")
    path = tmp_path / "x.sqlite"
    Durable(path, steps[:1], page_bytes=4096).close()
    with pytest.raises(Broken, match="open"):
        Durable(path, (*steps[:2], "CREATE TABLE one (again TEXT)"), page_bytes=4096)
    file = Durable(path, steps, page_bytes=4096)
    assert file.write(lambda connection: connection.execute("SELECT version FROM schema").fetchall()) == [
        (1,),
        (2,),
        (3,),
    ]
    file.close()
    with pytest.raises(OperatorError, match="version 3, and this Wayline knows up to 2"):
        Durable(path, steps[:2], page_bytes=4096)


@pytest.mark.parametrize("version, is_good", [("3.51.2", False), ("3.40.1", False), ("3.51.3", True), ("3.54.1", True)])
def test_an_sqlite_that_may_lose_commits_is_refused(version: str, is_good: bool) -> None:
    if is_good:
        check_library(version)
    else:
        with pytest.raises(OperatorError, match=r"expected 3\.51\.3 or later"):
            check_library(version)


def test_each_file_is_durable_by_its_settings(tmp_path: Path) -> None:
    file = Durable(tmp_path / "x.sqlite", (), page_bytes=4096)
    with file.reading() as connection:
        settings = {
            name: connection.pragma(name) for name in ("journal_mode", "synchronous", "mmap_size", "secure_delete")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "mmap_size": 0, "secure_delete": 1}
    file.close()


def test_a_store_in_use_by_a_foreign_writer_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wayline.store.durable._BUSY_SECONDS", 0)
    with open_store(tmp_path) as store:
        foreign = apsw.Connection(str(tmp_path / "state.sqlite"))
        foreign.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="another process"):
            store.state.commit(Batch(position=1))
        foreign.execute("ROLLBACK")
        foreign.close()
        store.state.commit(Batch(position=1))
