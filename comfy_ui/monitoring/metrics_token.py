"""Who may read the metrics."""

from __future__ import annotations

import hmac


def may_read(authorization: str, token: str) -> bool:
    """Whether the value of an Authorization header is that of a bearer of ``token``.

    >>> may_read("Bearer secret", "secret"), may_read("Bearer ", ""), may_read("", "secret")
    (True, False, False)
    """
    kind, _, given = authorization.partition(" ")
    same = hmac.compare_digest(given.strip().encode(), token.encode())
    return bool(token) and kind.lower() == "bearer" and same
