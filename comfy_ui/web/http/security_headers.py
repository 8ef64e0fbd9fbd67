"""Security headers of every response: which scripts run, and which sites may frame the page. Pure.

Gradio compiles the ``js=`` of events from text (``unsafe-eval``) and sets styles in attributes
(``unsafe-inline`` of styles). Scripts in attributes and in injected markup stay blocked: only
script files of this page and the inline scripts whose hashes the policy lists run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Final

__all__ = ["HUGGING_FACE", "NO_SCRIPTS", "page_policy", "script_hash", "shields"]

HUGGING_FACE: Final = ("https://huggingface.co", "https://*.hf.space")
NO_SCRIPTS: Final = "default-src 'none'; sandbox"
"""The policy of responses that are no page."""


def page_policy(*, hashes: Sequence[str] = (), frames: Sequence[str] = ()) -> str:
    """Return the content security policy of a page.

    Args:
        hashes: of its inline scripts, see :func:`script_hash`.
        frames: the sites that may show the page in a frame, besides itself.
    """
    framers = " ".join(("'self'", *frames))
    scripts = " ".join(f"'{source}'" for source in ("self", *hashes))
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src {scripts} 'unsafe-eval'",
            "script-src-attr 'none'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "media-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "worker-src 'self' blob:",
            "frame-src 'none'",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            f"frame-ancestors {framers}",
        )
    )


def script_hash(script: str) -> str:
    """Return the hash of an inline script in the form of a policy.

    >>> script_hash("")
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def shields(*, framed: bool) -> dict[str, str]:
    """Return the headers of every response. ``framed``: another site frames the page (Spaces)."""
    headers = {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    }
    if not framed:
        headers |= {
            "X-Frame-Options": "SAMEORIGIN",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
    return headers
