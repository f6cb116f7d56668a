"""The tables of the state, as steps that are only ever appended to: `STATE[n]` takes a file from version n to n + 1."""

from __future__ import annotations

__all__ = ["STATE"]

_SCHEMA_1 = """
CREATE TABLE progress (one INTEGER PRIMARY KEY CHECK (one = 1), position INTEGER NOT NULL) STRICT;
INSERT INTO progress VALUES (1, 0);

CREATE TABLE customers (
    customer_id TEXT PRIMARY KEY NOT NULL, standing BLOB, wake_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX customers_by_wake ON customers (wake_at, customer_id) WHERE wake_at IS NOT NULL;
CREATE TABLE checkpoints (
    customer_id TEXT PRIMARY KEY NOT NULL, position INTEGER NOT NULL, memory BLOB NOT NULL
) STRICT;

CREATE TABLE links (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, value TEXT NOT NULL, customer_id TEXT NOT NULL,
    source TEXT NOT NULL, confidence REAL NOT NULL, at INTEGER NOT NULL
) STRICT;
CREATE INDEX links_by_identifier ON links (kind, value);
CREATE INDEX links_by_customer ON links (customer_id);
CREATE TABLE merges (
    number INTEGER PRIMARY KEY, loser TEXT NOT NULL UNIQUE, survivor TEXT NOT NULL,
    confidence REAL NOT NULL, evidence TEXT NOT NULL, at INTEGER NOT NULL
) STRICT;
CREATE INDEX merges_by_survivor ON merges (survivor);

CREATE TABLE decisions (
    number INTEGER PRIMARY KEY, decision_id TEXT NOT NULL UNIQUE, customer_id TEXT NOT NULL,
    decided_at INTEGER NOT NULL, journey TEXT NOT NULL, body BLOB NOT NULL,
    holds INTEGER NOT NULL DEFAULT 0, held_at INTEGER, held_until INTEGER
) STRICT;
CREATE INDEX decisions_by_customer ON decisions (customer_id);
CREATE INDEX decisions_by_time ON decisions (decided_at);

CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY, decision_id TEXT NOT NULL UNIQUE, customer_id TEXT NOT NULL, channel TEXT NOT NULL,
    delivers INTEGER NOT NULL, purpose TEXT NOT NULL, lane TEXT NOT NULL, journey TEXT NOT NULL, content TEXT NOT NULL,
    state TEXT NOT NULL, created_at INTEGER NOT NULL, due_at INTEGER NOT NULL, address TEXT NOT NULL,
    attempts INTEGER NOT NULL, lease_until INTEGER, settled_at INTEGER, detail TEXT NOT NULL, provider_id TEXT NOT NULL,
    attention_at INTEGER
) STRICT;
CREATE INDEX deliveries_by_state ON deliveries (state, attention_at);
CREATE INDEX deliveries_by_customer ON deliveries (customer_id);
CREATE INDEX deliveries_by_time ON deliveries (created_at);

CREATE TABLE changes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, decision_id TEXT NOT NULL, is_delivery INTEGER NOT NULL
) STRICT;

CREATE TABLE addresses (
    channel TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (channel, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE products (sku TEXT PRIMARY KEY NOT NULL, body BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE topics (
    topic TEXT NOT NULL, customer_id TEXT NOT NULL, PRIMARY KEY (topic, customer_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX topics_by_customer ON topics (customer_id);
CREATE TABLE spends (budget TEXT PRIMARY KEY NOT NULL, taken INTEGER NOT NULL) STRICT;
CREATE TABLE refused_entries (
    customer_id TEXT NOT NULL, journey TEXT NOT NULL, key TEXT NOT NULL, reason TEXT NOT NULL,
    at INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (customer_id, journey, key, reason)
) STRICT, WITHOUT ROWID;
CREATE TABLE set_aside (
    position INTEGER NOT NULL, customer_id TEXT NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (position, customer_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE notes (name TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) STRICT;
"""
_SCHEMA_2 = """
ALTER TABLE links ADD COLUMN evidence TEXT NOT NULL DEFAULT '';

ALTER TABLE merges RENAME TO merges_before;
DROP INDEX merges_by_survivor;
CREATE TABLE merges (
    number INTEGER PRIMARY KEY, loser TEXT NOT NULL, survivor TEXT NOT NULL, confidence REAL NOT NULL,
    evidence TEXT NOT NULL, at INTEGER NOT NULL, who TEXT NOT NULL, split INTEGER
) STRICT;
INSERT INTO merges SELECT number, loser, survivor, confidence, evidence, at, '', NULL FROM merges_before;
DROP TABLE merges_before;
CREATE UNIQUE INDEX merges_by_loser ON merges (loser) WHERE split IS NULL;
CREATE INDEX merges_by_survivor ON merges (survivor) WHERE split IS NULL;
CREATE TABLE splits (
    number INTEGER PRIMARY KEY, loser TEXT NOT NULL, survivor TEXT NOT NULL, evidence TEXT NOT NULL,
    at INTEGER NOT NULL, who TEXT NOT NULL
) STRICT;

CREATE TABLE reviews (
    review_id TEXT PRIMARY KEY NOT NULL, one TEXT NOT NULL, other TEXT NOT NULL, state TEXT NOT NULL,
    confidence REAL NOT NULL, body BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX reviews_by_state ON reviews (state, confidence);
CREATE INDEX reviews_by_one ON reviews (one);
CREATE INDEX reviews_by_other ON reviews (other);
"""

STATE = (_SCHEMA_1, _SCHEMA_2)
"""Every step so far; a file says in its table `schema` how many it has taken."""
