"""Errors from responses that are not a success."""

from __future__ import annotations

import pytest

from comfy_ui.client.transport.request import read_json, read_nothing, rejection
from comfy_ui.errors import AuthenticationError, ComfyUIConnectionError, ServerRejectedError
from tests.client.support import answer

LOGIN = b"<!doctype html><title>Sign in &amp; go</title><input type='password'>"
PAGE = b"<html><head><title>\n nginx </title></head></html>"


def test_rejection_success_status_is_none() -> None:
    assert all(rejection(answer(status=status)) is None for status in (200, 201, 204, 206))


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (401, AuthenticationError, False),
        (403, AuthenticationError, False),
        (402, ServerRejectedError, False),
        (404, ServerRejectedError, False),
        (413, ServerRejectedError, False),
        (429, ServerRejectedError, True),
        (500, ServerRejectedError, False),
        (502, ComfyUIConnectionError, True),
        (503, ComfyUIConnectionError, True),
        (504, ComfyUIConnectionError, True),
    ],
)
def test_rejection_error_status_has_class_hint_and_retryable(
    status: int, kind: type[Exception], *, retryable: bool
) -> None:
    error = rejection(answer(b"no", status=status))
    assert type(error) is kind
    assert error.hint
    assert error.retryable is retryable


def test_rejection_message_quotes_json_error_but_no_html() -> None:
    assert "(Job not found)" in str(rejection(answer({"error": "Job not found"}, status=409)))
    body = {"error": {"message": "queue\nfull"}}
    assert "(queue full)" in str(rejection(answer(body, status=429)))
    page = rejection(answer(PAGE, status=500, headers={"content-type": "text/html"}))
    assert "nginx" not in str(page)


def test_rejection_redirect_to_login_page_is_authentication_error() -> None:
    moved = answer(status=302, headers={"location": "https://sso.example.com/login?next=/prompt"})
    assert isinstance(rejection(moved), AuthenticationError)
    assert "next=" not in str(rejection(moved))


def test_rejection_redirect_to_other_host_names_it_and_is_not_retryable() -> None:
    error = rejection(answer(status=301, headers={"location": "https://new.example.com/"}))
    assert isinstance(error, ComfyUIConnectionError)
    assert "https://new.example.com" in str(error)
    assert not error.retryable


def test_read_json_login_page_with_status_200_raises_authentication_error() -> None:
    with pytest.raises(AuthenticationError, match="Sign in & go"):
        read_json(answer(LOGIN, headers={"content-type": "text/html"}))
    with pytest.raises(AuthenticationError):
        read_nothing(answer(LOGIN))


def test_read_json_html_page_raises_with_its_title() -> None:
    with pytest.raises(ComfyUIConnectionError, match="'nginx'") as caught:
        read_json(answer(PAGE))
    assert not caught.value.retryable


@pytest.mark.parametrize("body", [b"", b'{"a":', b"\xff\xfe", b"Bad Gateway"])
def test_read_json_broken_body_raises_retryable_connection_error(body: bytes) -> None:
    with pytest.raises(ComfyUIConnectionError) as caught:
        read_json(answer(body))
    assert caught.value.retryable
