"""The tables ``webhooks`` and ``webhook_deliveries``: where users hear of their jobs' ends.

A trigger adds the deliveries in the transaction that ends a job, so that none is lost.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from ..records import Webhook, WebhookDelivery, WebhookTarget

ADD_WEBHOOK: Final = "ALTER TABLE jobs ADD COLUMN webhook TEXT"
_ENDED: Final = "('succeeded', 'failed', 'cancelled', 'lost')"
MAX_KEPT: Final = 200
"""The largest number of ended deliveries of a user."""

SCHEMA: Final = (
    """CREATE TABLE webhooks (
    user_id TEXT PRIMARY KEY,
    url TEXT NOT NULL,              -- empty: none
    base TEXT NOT NULL,             -- the app's own address as the user sees it
    secret_version INTEGER NOT NULL DEFAULT 1
)""",
    """CREATE TABLE webhook_deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL,
    job_id TEXT NOT NULL,           -- empty: a test
    event TEXT NOT NULL,
    url TEXT NOT NULL,
    base TEXT NOT NULL,
    body TEXT,                      -- as first sent
    attempts INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    next_at REAL,                   -- of the next attempt; NULL: none will follow
    sent_at REAL,                   -- of the last attempt
    status INTEGER,                 -- of the last answer
    error TEXT                      -- of the last attempt; NULL: the receiver accepted it
)""",
    "CREATE INDEX deliveries_due ON webhook_deliveries(next_at) WHERE next_at IS NOT NULL",
    "CREATE INDEX deliveries_of_user ON webhook_deliveries(user_id, id)",
    f"""CREATE TRIGGER job_ended AFTER UPDATE OF status ON jobs
    WHEN NEW.status IN {_ENDED} AND OLD.status NOT IN {_ENDED}
    BEGIN
        INSERT INTO webhook_deliveries (user_id, job_id, event, url, base, created_at, next_at)
        SELECT NEW.user_id, NEW.id, 'job.' || NEW.status, url, min(base),
            coalesce(NEW.finished_at, NEW.created_at), coalesce(NEW.finished_at, NEW.created_at)
        FROM (SELECT url, base FROM webhooks WHERE user_id = NEW.user_id
            UNION SELECT json_extract(NEW.webhook, '$.url'), json_extract(NEW.webhook, '$.base'))
        WHERE url <> '' GROUP BY url;
    END""",  # noqa: S608 -- constants only
)


def webhook(connection: sqlite3.Connection, user_id: str) -> Webhook:
    """Return the user's webhook; one without an address if the user has set none."""
    row = connection.execute("SELECT * FROM webhooks WHERE user_id = ?", (user_id,)).fetchone()
    return Webhook(row["url"], row["secret_version"]) if row else Webhook()


def set_webhook(connection: sqlite3.Connection, user_id: str, target: WebhookTarget) -> None:
    """Set the user's webhook. An empty address removes it."""
    connection.execute(
        "INSERT INTO webhooks (user_id, url, base) VALUES (?, ?, ?)"
        " ON CONFLICT (user_id) DO UPDATE SET url = excluded.url, base = excluded.base",
        (user_id, target.url, target.base),
    )


def renew_secret(connection: sqlite3.Connection, user_id: str) -> None:
    """Replace the secret that signs the user's deliveries."""
    connection.execute(
        "INSERT INTO webhooks (user_id, url, base, secret_version) VALUES (?, '', '', 2)"
        " ON CONFLICT (user_id) DO UPDATE SET secret_version = secret_version + 1",
        (user_id,),
    )


def insert_test(
    connection: sqlite3.Connection, user_id: str, target: WebhookTarget, now: float
) -> None:
    """Add a delivery that is about no job."""
    connection.execute(
        "INSERT INTO webhook_deliveries (user_id, job_id, event, url, base, created_at, next_at)"
        " VALUES (?, '', 'test', ?, ?, ?, ?)",
        (user_id, target.url, target.base, now, now),
    )


def due(connection: sqlite3.Connection, now: float, limit: int) -> list[WebhookDelivery]:
    """Return the deliveries whose next attempt is due, the one that has waited longest first."""
    rows = connection.execute(
        "SELECT * FROM webhook_deliveries WHERE next_at <= ? ORDER BY next_at, id LIMIT ?",
        (now, limit),
    )
    return [_delivery(row) for row in rows]


def claim(connection: sqlite3.Connection, delivery: WebhookDelivery, until: float) -> bool:
    """Put off the next attempt of a delivery; False if that has changed since it was read."""
    changed = connection.execute(
        "UPDATE webhook_deliveries SET next_at = ? WHERE id = ? AND next_at = ?",
        (until, delivery.id, delivery.next_at),
    )
    return changed.rowcount > 0


def recent(connection: sqlite3.Connection, user_id: str, limit: int) -> list[WebhookDelivery]:
    """Return the user's deliveries, the newest first."""
    rows = connection.execute(
        "SELECT * FROM webhook_deliveries WHERE user_id = ? ORDER BY id DESC LIMIT ?",
        (user_id, limit),
    )
    return [_delivery(row) for row in rows]


CHANGING_COLUMNS: Final = ("body", "attempts", "next_at", "sent_at", "status", "error")


def changing_values(delivery: WebhookDelivery) -> tuple[object, ...]:
    """Return the values of :data:`CHANGING_COLUMNS`, which an attempt changes."""
    return (
        delivery.body,
        delivery.attempts,
        delivery.next_at,
        delivery.sent_at,
        delivery.status,
        delivery.error,
    )


def save(connection: sqlite3.Connection, delivery: WebhookDelivery) -> None:
    """Write the outcome of an attempt, and forget the user's oldest ended deliveries."""
    connection.execute(
        f"UPDATE webhook_deliveries SET {' = ?, '.join(CHANGING_COLUMNS)} = ? WHERE id = ?",  # noqa: S608 -- constants only
        (*changing_values(delivery), delivery.id),
    )
    connection.execute(
        "DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM webhook_deliveries"
        " WHERE user_id = ? AND next_at IS NULL ORDER BY id DESC LIMIT -1 OFFSET ?)",
        (delivery.user_id, MAX_KEPT),
    )


def send_again(connection: sqlite3.Connection, delivery_id: int, user_id: str, now: float) -> bool:
    """Schedule an ended delivery of the user again; False if there is none."""
    changed = connection.execute(
        "UPDATE webhook_deliveries SET next_at = ?, attempts = 0"
        " WHERE id = ? AND user_id = ? AND next_at IS NULL",
        (now, delivery_id, user_id),
    )
    return changed.rowcount > 0


def _delivery(row: sqlite3.Row) -> WebhookDelivery:
    return WebhookDelivery(**{name: row[name] for name in row.keys()})  # noqa: SIM118 -- a Row iterates over values
