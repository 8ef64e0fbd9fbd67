from __future__ import annotations

from comfy_ui.web.http.security_headers import HUGGING_FACE, page_policy, script_hash, shields


def directives(policy: str) -> dict[str, list[str]]:
    return {name: sources for name, *sources in (part.split() for part in policy.split("; "))}


def test_page_policy_allows_own_and_hashed_scripts_only() -> None:
    policy = directives(page_policy(hashes=[script_hash("x")]))
    assert "'unsafe-inline'" not in policy["script-src"]
    assert f"'{script_hash('x')}'" in policy["script-src"]
    assert policy["script-src-attr"] == policy["object-src"] == ["'none'"]
    assert policy["connect-src"] == ["'self'"]


def test_page_policy_allows_hugging_face_frames_in_a_space_only() -> None:
    assert directives(page_policy())["frame-ancestors"] == ["'self'"]
    space = directives(page_policy(frames=HUGGING_FACE))["frame-ancestors"]
    assert space == ["'self'", "https://huggingface.co", "https://*.hf.space"]
    assert "X-Frame-Options" in shields(framed=False)
    assert "X-Frame-Options" not in shields(framed=True)
