"""Decisions are decided again under the playbook they were decided under, however it was changed since."""

from __future__ import annotations

from tests.shop import APPAREL, Shop, happened

from wayline.runtime.folders import keep_versions, playbooks_kept, read_files
from wayline.runtime.replaying import replay_all
from wayline.store.opening import open_store


def test_decisions_replay_after_the_policy_and_a_journey_changed() -> None:
    files = {name: text for name, text in read_files(APPAREL).items() if not name.startswith("tests/")}
    store = open_store()
    shop = Shop(keep_versions(files, store.state), store=store)
    shop.consent()
    shop.after(hours=2)
    assert shop.decisions()
    files["policy.yaml"] = files["policy.yaml"].replace("slot: 1 hour", "slot: 2 hours")
    files["journeys/welcome.yaml"] += "# said anew\n"
    changed = keep_versions(files, store.state)
    shop = Shop(changed, store=store, now=shop.now)
    shop.tell(happened("Order Completed", order_id="A1", revenue=100, currency="EUR", products=[]))
    count = len({d.versions["playbook"] for d in shop.decisions()})
    replayed = replay_all(store.state, changed, kept=playbooks_kept(store.state))
    assert (count, replayed.different) == (2, ()) and replayed.equal == len(shop.decisions())


def test_the_stories_of_a_playbook_are_not_kept_with_the_state() -> None:
    files = read_files(APPAREL)
    assert any(name.startswith("tests/") for name in files)
    store = open_store()
    playbook = keep_versions(files, store.state)
    kept = store.state.note("playbooks") or b""
    assert b"journeys/cart-recovery.yaml" in kept and b"tests/" not in kept
    assert set(playbooks_kept(store.state)) == {playbook.version}
