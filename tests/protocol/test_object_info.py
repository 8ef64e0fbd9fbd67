from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from comfy_ui.errors import ComfyUIConnectionError
from comfy_ui.protocol.object_info import InputSpec, NodeRegistry, NodeSpec, read_input
from tests.conftest import recorded_object_info

SAMPLER: dict[str, Any] = {
    "input": {
        "required": {
            "cfg": [
                "FLOAT",
                {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01},
            ],
            "model": ["MODEL", {"tooltip": "The model."}],
            "seed": ["INT", {"default": 0, "max": 2**64 - 1, "control_after_generate": True}],
            "old": [["euler", "ddim"], {"default": "ddim"}],
            "new": ["COMBO", {"options": ["a", "b"], "advanced": True}],
            "none": [[]],
            "remote": ["COMBO", {"remote": {"route": "/x"}}],
        },
        "optional": {"text": ["STRING", {"multiline": True, "forceInput": True}]},
        "hidden": {"unique_id": "UNIQUE_ID"},
    },
    "input_order": {
        "required": ["model", "seed", "old", "new", "none", "remote", "cfg"],
        "optional": ["text"],
    },
    "output": ["LATENT", ["a", "b"]],
    "output_name": ["samples"],
    "output_is_list": [False, True],
    "display_name": "Sampler",
    "category": "sampling",
    "output_node": False,
}


@pytest.fixture
def spec() -> NodeSpec:
    return NodeRegistry({"Sampler": SAMPLER})["Sampler"]


def test_node_spec_inputs_keep_declared_order_without_hidden(spec: NodeSpec) -> None:
    assert list(spec.inputs) == ["model", "seed", "old", "new", "none", "remote", "cfg", "text"]
    assert [name for name, input_ in spec.inputs.items() if not input_.required] == ["text"]


def test_node_spec_old_and_new_combo_read_alike(spec: NodeSpec) -> None:
    old, new = spec.inputs["old"], spec.inputs["new"]
    assert (old.type, old.choices, old.default) == ("COMBO", ("euler", "ddim"), "ddim")
    assert (new.type, new.choices, new.default) == ("COMBO", ("a", "b"), None)
    assert new.advanced


def test_node_spec_empty_choices_differ_from_remote_choices(spec: NodeSpec) -> None:
    assert spec.inputs["none"].choices == ()
    assert spec.inputs["remote"].choices is None
    assert spec.inputs["remote"].options == {"remote": {"route": "/x"}}


def test_node_spec_numbers_keep_range_and_seed_size(spec: NodeSpec) -> None:
    cfg, seed = spec.inputs["cfg"], spec.inputs["seed"]
    assert (cfg.default, cfg.min, cfg.max, cfg.step, cfg.round) == (8.0, 0.0, 100.0, 0.1, 0.01)
    assert seed.max == 2**64 - 1
    assert seed.control_after_generate is True


def test_node_spec_text_and_socket_options_are_read(spec: NodeSpec) -> None:
    assert spec.inputs["text"].multiline
    assert spec.inputs["text"].force_input
    assert spec.inputs["model"].tooltip == "The model."


def test_node_spec_outputs_have_name_and_type_per_slot(spec: NodeSpec) -> None:
    assert spec.outputs == ("LATENT", "COMBO")
    assert spec.output_names == ("samples", "COMBO")
    assert spec.output_is_list == (False, True)


@pytest.mark.parametrize(
    ("flag", "upload"),
    [("image_upload", "image"), ("audio_upload", "audio"), ("video_upload", "video")],
)
def test_read_input_upload_flag_sets_upload_kind(flag: str, upload: str) -> None:
    spec = read_input("file", [["a.png"], {flag: True}])
    assert spec is not None
    assert spec.upload == upload


def test_read_input_dynamic_combo_keeps_options_and_inner_inputs() -> None:
    options = {
        "options": [
            {"key": "auto", "inputs": {"required": {}}},
            {"key": "by width", "inputs": {"required": {"width": ["INT", {"default": 512}]}}},
        ]
    }
    spec = read_input("resize", ["COMFY_DYNAMICCOMBO_V3", options])
    assert spec is not None
    assert (spec.type, spec.choices, spec.options) == ("COMFY_DYNAMICCOMBO_V3", None, options)
    inner = read_input("resize.width", options["options"][1]["inputs"]["required"]["width"])
    assert inner == InputSpec("resize.width", "INT", default=512, options={"default": 512})


def test_node_registry_is_lazy_mapping_of_classes() -> None:
    registry = NodeRegistry({"A": {"output_node": True}, "broken": None, "B": {}})
    assert set(registry) == {"A", "B"}
    assert len(registry) == 2
    assert "broken" not in registry
    assert 3 not in registry
    assert registry.get("missing") is None
    assert registry.get("broken") is None
    assert registry["A"] is registry["A"]
    assert registry["A"].output_node
    assert registry["A"].display_name == "A"
    assert registry.raw["broken"] is None
    assert "2 classes" in repr(registry)


@pytest.mark.parametrize("raw", [None, [], "<html>", 3])
def test_node_registry_invalid_object_info_raises_with_hint(raw: Any) -> None:
    with pytest.raises(ComfyUIConnectionError) as caught:
        NodeRegistry(raw)
    assert caught.value.hint


def test_node_spec_invalid_input_is_skipped() -> None:
    spec = NodeRegistry(
        {"A": {"input": {"required": {"x": None, "y": [], "z": [3], "ok": ["INT"]}, "optional": 3}}}
    )["A"]
    assert list(spec.inputs) == ["ok"]


def _declared(raw: dict[str, Any]) -> dict[str, Any]:
    return {**raw["input"].get("optional", {}), **raw["input"].get("required", {})}


def test_node_registry_recorded_object_info_is_read_without_loss(
    object_info: dict[str, Any],
) -> None:
    registry = NodeRegistry(object_info)
    assert len(registry) == len(object_info)
    for class_type, spec in registry.items():
        raw = object_info[class_type]
        declared = _declared(raw)
        assert spec.class_type == class_type
        assert set(spec.inputs) == set(declared)
        order = raw["input_order"]
        assert list(spec.inputs) == [*order.get("required", []), *order.get("optional", [])]
        assert list(spec.outputs) == [o if isinstance(o, str) else "COMBO" for o in raw["output"]]
        assert list(spec.output_names) == [
            name or type_ for name, type_ in zip(raw["output_name"], spec.outputs, strict=True)
        ]
        assert list(spec.output_is_list) == [is_list is True for is_list in raw["output_is_list"]]
        assert spec.output_node is raw["output_node"]
        for name, input_ in spec.inputs.items():
            kind, *rest = declared[name]
            options = rest[0] if rest else {}
            assert input_.options == options
            assert input_.type == ("COMBO" if isinstance(kind, list) else kind)
            assert input_.required is (name in raw["input"].get("required", {}))
            for key in ("min", "max", "step", "default"):
                assert getattr(input_, key) == options.get(key)
            if input_.type == "COMBO" and "remote" not in options:
                choices = kind if isinstance(kind, list) else options.get("options")
                assert input_.choices == (None if choices is None else tuple(choices))


def test_node_registry_newer_server_has_dynamic_inputs_with_templates() -> None:
    registry = NodeRegistry(recorded_object_info("0.33.0"))
    kinds = {input_.type for spec in registry.values() for input_ in spec.inputs.values()}
    assert {"COMFY_DYNAMICCOMBO_V3", "COMFY_AUTOGROW_V3", "COMFY_MATCHTYPE_V3"} <= kinds
    assert "template" in registry["BatchImagesNode"].inputs["images"].options
    assert registry["LoadImage"].inputs["image"].upload == "image"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "input",
                    "required",
                    "optional",
                    "input_order",
                    "output",
                    "output_name",
                    "min",
                    "x",
                ]
            ),
            inner,
        )
    ),
    max_leaves=20,
)


@given(anything)
def test_node_registry_any_json_returns_specs_or_connection_error(raw: Any) -> None:
    try:
        registry = NodeRegistry(raw)
    except ComfyUIConnectionError:
        return
    for spec in registry.values():
        assert isinstance(spec, NodeSpec)
        assert all(isinstance(input_, InputSpec) for input_ in spec.inputs.values())


@given(st.dictionaries(st.sampled_from(["input", "input_order", "output"]), anything))
def test_node_registry_any_class_json_returns_spec(raw: dict[str, Any]) -> None:
    spec = NodeRegistry({"A": raw})["A"]
    assert len(spec.output_names) == len(spec.output_is_list) == len(spec.outputs)
