"""A fake of Hugging Face's logins (OpenID Connect)."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.browser.support import free_port

CLIENT = ("client-id", "client-secret-canary")


@dataclass
class FakeHub:
    """Logs in ``user_name`` with tokens that last ``token_lifetime_s``."""

    url: str
    user_name: str = "ann"
    token_lifetime_s: float = 3600.0
    denies_access: bool = False
    signs_with_wrong_key: bool = False
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "k"}))
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    async def about(self, _: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/oauth/authorize",
                "token_endpoint": f"{self.url}/oauth/token",
                "jwks_uri": f"{self.url}/jwks",
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def keys(self, _: Request) -> Response:
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    async def authorize(self, request: Request) -> Response:
        query = dict(request.query_params)
        assert query["client_id"] == CLIENT[0]
        assert query["code_challenge_method"] == "S256"
        answer = {"state": query["state"]}
        if self.denies_access:
            answer |= {"error": "access_denied", "error_description": "<b>said no</b>"}
        else:
            answer["code"] = f"code{len(self._codes)}"
            self._codes[answer["code"]] = query
        return RedirectResponse(f"{query['redirect_uri']}?{urlencode(answer)}")

    async def token(self, request: Request) -> Response:
        form = {
            name: values[0] for name, values in parse_qs((await request.body()).decode()).items()
        }
        basic = base64.b64encode(":".join(CLIENT).encode()).decode()
        query = self._codes.pop(form.get("code", ""), None)
        proof = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        proven = base64.urlsafe_b64encode(proof).decode().rstrip("=")
        if query is None or request.headers["authorization"] != f"Basic {basic}":
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        assert proven == query["code_challenge"]
        now = int(time.time())
        claims = {
            "iss": self.url, "aud": CLIENT[0], "sub": f"id of {self.user_name}", "iat": now,
            "exp": now + 3600, "nonce": query["nonce"], "name": self.user_name.title(),
            "preferred_username": self.user_name,
        }  # fmt: skip
        key = RSAKey.generate_key(2048, {"kid": "k"}) if self.signs_with_wrong_key else self.key
        return JSONResponse(
            {
                "access_token": "access-token-canary",
                "token_type": "bearer",
                "expires_in": self.token_lifetime_s,
                "scope": "openid profile",
                "id_token": jwt.encode({"alg": "RS256", "kid": "k"}, claims, key),
            }
        )

    def environment(self, user_id: str) -> dict[str, str]:
        """Return the environment of a Space with logins."""
        return {
            "SPACE_ID": f"{user_id}/comfy-ui",
            "SPACE_AUTHOR_NAME": user_id,
            "OPENID_PROVIDER_URL": self.url,
            "OAUTH_CLIENT_ID": CLIENT[0],
            "OAUTH_CLIENT_SECRET": CLIENT[1],
            "OAUTH_SCOPES": "openid profile",
        }


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    port = free_port()
    fake = FakeHub(f"http://127.0.0.1:{port}")
    app: Any = Starlette(
        routes=[
            Route("/.well-known/openid-configuration", fake.about),
            Route("/jwks", fake.keys),
            Route("/oauth/authorize", fake.authorize),
            Route("/oauth/token", fake.token, methods=["POST"]),
        ]
    )
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield fake
    finally:
        server.should_exit = True
        thread.join()
