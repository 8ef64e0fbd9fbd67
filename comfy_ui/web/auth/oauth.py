"""Login with Hugging Face, on a Space whose README says ``hf_oauth: true``.

Authlib implements OpenID Connect; the session keeps a name and an expiry, and no token. Gradio's
``LoginButton`` keeps the tokens in the browser, ends in a traceback if the user declines, and its
handlers do not check access.

https://huggingface.co/docs/hub/spaces-oauth
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel, ValidationError as PydanticValidationError
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

__all__ = ["LOGIN_PATH", "Provider", "middleware", "provider_of", "routes", "said_by"]

logger = logging.getLogger(__name__)

LOGIN_PATH: Final = "/login/huggingface"
_CALLBACK_PATH: Final = "/login/callback"
_COOKIE: Final = "comfy_ui_login"
_KEY: Final = "login"
_LONGEST_S: Final = 30 * 86400
_UNSAID_S: Final = 8 * 3600.0


@dataclass(frozen=True, slots=True)
class Provider:
    """The identity provider, and our client id and secret there."""

    url: str
    client_id: str
    secret: str = field(repr=False)
    scopes: str
    host: str
    """The host that the provider redirects back to; empty: the request's host."""


class _Login(BaseModel):
    name: str
    until: float


def provider_of(environ: Mapping[str, str]) -> Provider | None:
    """Read the provider that Hugging Face configures for a Space; None without logins."""
    names = ("OPENID_PROVIDER_URL", "OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET")
    url, client_id, secret = (environ.get(name, "") for name in names)
    if not (environ.get("SPACE_ID") and url and client_id and secret):
        return None
    # A Space with a custom domain has two hosts; the first is the one to announce.
    host = environ.get("SPACE_HOST", "").partition(",")[0].strip()
    scopes = environ.get("OAUTH_SCOPES") or "openid profile"
    return Provider(url, client_id, secret, scopes, host)


def middleware(provider: Provider) -> Middleware:
    """Return the middleware that keeps the login in a signed cookie, for :func:`said_by`."""
    from starlette.middleware.sessions import SessionMiddleware

    key = hashlib.sha256(f"comfy-ui login/{provider.secret}".encode()).hexdigest()
    # "none": a Space is shown in a frame of another site.
    return Middleware(
        SessionMiddleware,
        secret_key=key,
        session_cookie=_COOKIE,
        max_age=_LONGEST_S,
        same_site="none",
        https_only=True,
    )


def said_by(request: Any, now: float) -> str | None:
    """Return the name that a request is logged in with. ``request`` is Gradio's or Starlette's."""
    inner = request if isinstance(request, Request) else getattr(request, "request", None)
    session = getattr(inner, "scope", {}).get("session") or {}
    try:
        login = _Login.model_validate(session.get(_KEY))
    except PydanticValidationError:
        return None
    return login.name if now < login.until else None


def routes(provider: Provider) -> list[Route]:
    """Return the login and logout routes, for ``app_kwargs`` of Gradio's ``launch``."""
    from authlib.integrations.starlette_client import OAuth

    hub: Any = OAuth().register(
        name="huggingface",
        client_id=provider.client_id,
        client_secret=provider.secret,
        client_kwargs={"scope": provider.scopes, "code_challenge_method": "S256"},
        server_metadata_url=f"{provider.url.rstrip('/')}/.well-known/openid-configuration",
    )

    async def log_in(request: Request) -> Response:
        request.session.clear()  # leftovers of earlier attempts would fill the cookie
        host = f"https://{provider.host}" if provider.host else str(request.base_url).rstrip("/")
        try:
            answer: Response = await hub.authorize_redirect(request, f"{host}{_CALLBACK_PATH}")
        except Exception as error:  # noqa: BLE001 -- any failure of a library below; the login fails
            return _failed("Hugging Face cannot be reached", error)
        return answer

    async def come_back(request: Request) -> Response:
        try:
            token = await hub.authorize_access_token(request)
            name = str(token["userinfo"]["preferred_username"])
        except Exception as error:  # noqa: BLE001 -- a forged state, a refusal, a bad token; the same
            return _failed("The login did not work", error)
        finally:
            request.session.clear()
        until = float(token.get("expires_at") or time.time() + _UNSAID_S)
        request.session[_KEY] = _Login(name=name, until=until).model_dump()
        return RedirectResponse("/", status_code=303)

    async def log_out(request: Request) -> Response:
        request.session.clear()
        return RedirectResponse("/", status_code=303)

    return [
        Route(LOGIN_PATH, log_in),
        Route(_CALLBACK_PATH, come_back),
        Route("/logout", log_out),
    ]


def _failed(what: str, error: Exception) -> Response:
    # The error's text comes from the address, so anyone may have written it.
    logger.warning("%s: %s", what, type(error).__name__)
    return PlainTextResponse(f"{what}. Open the page and try again.", status_code=403)
