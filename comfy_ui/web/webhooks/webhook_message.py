"""Messages of webhooks: their signature, when they are sent again, and where they may go. Pure.

They follow Standard Webhooks, so that receivers can verify them with a library of their language:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from ...errors import ValidationError
from ...storage.records import WebhookDelivery, WebhookTarget
from ..auth.access import Access

__all__ = [
    "checked_url",
    "message_body",
    "message_headers",
    "next_attempt_at",
    "secret_of",
    "webhook_target",
]

_MAX_URL: Final = 2000
_DELAYS_S: Final = (10, 60, 300, 1800, 2 * 3600, 6 * 3600, 12 * 3600, 24 * 3600)
"""Before each further attempt: nine attempts in two days."""
_GONE: Final = 410


def secret_of(access: Access, user_id: str, version: int) -> str:
    """Return the secret that signs a user's messages, as ``whsec_…``."""
    key = bytes.fromhex(access.sign(f"webhook {version} {user_id}"))
    return f"whsec_{base64.b64encode(key).decode()}"


async def webhook_target(access: Access, request: Any, url: str) -> WebhookTarget | None:
    """Return the webhook that a request names for its job; None if ``url`` is empty.

    Raises:
        ValidationError: the caller may not use webhooks, or it is no URL for one.
    """
    if not url:
        return None
    await access.admit("use_webhooks", request)
    if not access.identifies(request):
        raise ValidationError("Webhooks need a login or an API key.")
    inner = getattr(request, "request", None) or request
    return WebhookTarget(checked_url(url), str(inner.base_url).rstrip("/"))


def checked_url(url: object) -> str:
    """Return the URL of a webhook if it can be one. Its host is checked when it is sent.

    Raises:
        ValidationError: it cannot.
    """
    text = str(url).strip()
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        usable = usable and "@" not in parts.netloc
    except ValueError:
        usable = False
    if not usable or len(text) > _MAX_URL or not text.isprintable() or " " in text:
        raise ValidationError(
            "This is no address for a webhook.", hint="It looks like https://example.com/hook."
        )
    return text


def message_body(event: str, data: Mapping[str, Any], at: float) -> str:
    """Return the body of a message as JSON.

    >>> message_body("test", {"message": "Hello"}, 0)
    '{"type":"test","timestamp":"1970-01-01T00:00:00Z","data":{"message":"Hello"}}'
    """
    timestamp = datetime.fromtimestamp(int(at), UTC).isoformat().replace("+00:00", "Z")
    content = {"type": event, "timestamp": timestamp, "data": data}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def message_headers(delivery: WebhookDelivery, body: str, secret: str, at: float) -> dict[str, str]:
    """Return the headers of one attempt. The id is the same for all attempts of a delivery."""
    message_id, timestamp = f"msg_{delivery.job_id or 'test'}_{delivery.id}", int(at)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.{body}".encode()
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }


def next_attempt_at(
    attempts: int, status: int | None, now: float, retry_after_s: float = 0.0
) -> float | None:
    """Return the time of the next attempt after ``attempts`` failed ones; None: give up.

    >>> next_attempt_at(1, 500, now=0), next_attempt_at(1, 410, now=0), next_attempt_at(9, 500, 0)
    (10.0, None, None)
    """
    if status == _GONE or attempts > len(_DELAYS_S):
        return None
    return now + max(_DELAYS_S[attempts - 1], min(retry_after_s, _DELAYS_S[-1]))
