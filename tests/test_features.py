from __future__ import annotations

import importlib.util

import pytest

from comfy_ui import features
from comfy_ui.errors import MissingFeatureError, ValidationError


@pytest.fixture
def without(monkeypatch):
    """Make some modules look as if they were not installed."""

    def hide(*names: str) -> None:
        real = importlib.util.find_spec
        monkeypatch.setattr(
            features, "find_spec", lambda name: None if name in names else real(name)
        )
        monkeypatch.setattr(features, "FEATURES", features._Features())

    return hide


def test_features_are_a_read_only_mapping() -> None:
    assert features.FEATURES["validation"] is True
    with pytest.raises(TypeError):
        features.FEATURES["ai"] = False  # type: ignore[index]


def test_check_feature_missing_package_is_false_with_install_hint(without) -> None:
    without("openai")
    assert features.check_feature("ai") is False
    assert features.list_missing_features() == {"ai": "pip install 'comfy-ui[ai]'"}
    assert "ai" not in features.list_available_features()
    with pytest.raises(MissingFeatureError) as caught:
        features.require_feature("ai")
    assert caught.value.feature == "ai"
    assert "pip install 'comfy-ui[ai]'" in str(caught.value)


def test_check_feature_one_missing_module_is_false(without) -> None:
    without("av")
    assert features.check_feature("ui") is False
    assert features.check_feature("websocket") is True


def test_can_import_missing_parent_package_is_false(without) -> None:
    assert features._can_import("no_such_package.below.it") is False


@pytest.mark.parametrize(
    "call", [features.check_feature, features.get_install_hint, features.require_feature]
)
def test_features_unknown_name_raises_with_suggestion(call) -> None:
    with pytest.raises(ValidationError, match="Did you mean 'health'"):
        call("helth")


@pytest.mark.parametrize(
    ("origin", "hint"),
    [
        ({}, "pip install 'comfy-ui[health]'"),
        ({"dir_info": {"editable": True}, "url": "file:///x"}, "pip install 'comfy-ui[health]'"),
        (None, "pip install -e '.[health]'"),  # a clone that is not installed
        (
            {
                "url": "https://example.com/c.git",
                "vcs_info": {"vcs": "git", "requested_revision": "v1"},
            },
            "pip install 'comfy-ui[health] @ git+https://example.com/c.git@v1'",
        ),
        (
            {"url": "https://me:secret@example.com/c.git", "vcs_info": {"vcs": "git"}},
            "pip install 'comfy-ui[health]'",
        ),
    ],
)
def test_install_hint_names_the_origin_of_the_package(
    origin: dict[str, object] | None, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "_origin", lambda: origin)
    assert features.get_install_hint("health") == hint


def test_require_feature_in_a_clone_names_the_command_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(features, "check_feature", lambda _: False)
    for origin, expected in (({}, False), ({"dir_info": {"editable": True}}, True)):
        monkeypatch.setattr(features, "_origin", lambda origin=origin: origin)
        with pytest.raises(features.MissingFeatureError) as caught:
            features.require_feature("health")
        assert ("pip install -e '.[health]'" in caught.value.hint) is expected
