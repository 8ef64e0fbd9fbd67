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


def test_inputs_come_in_declared_order_and_without_hidden_ones(spec: NodeSpec) -> None:
    assert list(spec.inputs) == ["model", "seed", "old", "new", "none", "remote", "cfg", "text"]
    assert [name for name, input_ in spec.inputs.items() if not input_.required] == ["text"]


def test_both_spellings_of_a_choice_are_one(spec: NodeSpec) -> None:
    old, new = spec.inputs["old"], spec.inputs["new"]
    assert (old.type, old.choices, old.default) == ("COMBO", ("euler", "ddim"), "ddim")
    assert (new.type, new.choices, new.default) == ("COMBO", ("a", "b"), None)
    assert new.advanced


def test_nothing_to_choose_from_differs_from_choices_kept_elsewhere(spec: NodeSpec) -> None:
    assert spec.inputs["none"].choices == ()
    assert spec.inputs["remote"].choices is None
    assert spec.inputs["remote"].options == {"remote": {"route": "/x"}}


def test_numbers_keep_their_range_and_seeds_their_size(spec: NodeSpec) -> None:
    cfg, seed = spec.inputs["cfg"], spec.inputs["seed"]
    assert (cfg.default, cfg.min, cfg.max, cfg.step, cfg.round) == (8.0, 0.0, 100.0, 0.1, 0.01)
    assert seed.max == 2**64 - 1
    assert seed.control_after_generate is True


def test_texts_and_sockets_say_what_they_are(spec: NodeSpec) -> None:
    assert spec.inputs["text"].multiline
    assert spec.inputs["text"].force_input
    assert spec.inputs["model"].tooltip == "The model."


def test_outputs_have_names_and_types_for_each_slot(spec: NodeSpec) -> None:
    assert spec.outputs == ("LATENT", "COMBO")
    assert spec.output_names == ("samples", "COMBO")
    assert spec.output_is_list == (False, True)


@pytest.mark.parametrize(
    ("flag", "upload"),
    [("image_upload", "image"), ("audio_upload", "audio"), ("video_upload", "video")],
)
def test_an_upload_says_what_it_takes(flag: str, upload: str) -> None:
    spec = read_input("file", [["a.png"], {flag: True}])
    assert spec is not None
    assert spec.upload == upload


def test_a_dynamic_choice_keeps_its_options_and_its_inner_inputs_can_be_read() -> None:
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


def test_a_library_is_a_mapping_that_reads_a_class_on_first_use() -> None:
    library = NodeRegistry({"A": {"output_node": True}, "broken": None, "B": {}})
    assert set(library) == {"A", "B"}
    assert len(library) == 2
    assert "broken" not in library
    assert 3 not in library
    assert library.get("missing") is None
    assert library.get("broken") is None
    assert library["A"] is library["A"]
    assert library["A"].output_node
    assert library["A"].display_name == "A"
    assert library.raw["broken"] is None
    assert "2 classes" in repr(library)


@pytest.mark.parametrize("raw", [None, [], "<html>", 3])
def test_what_is_no_node_list_is_refused_with_a_hint(raw: Any) -> None:
    with pytest.raises(ComfyUIConnectionError) as caught:
        NodeRegistry(raw)
    assert caught.value.hint


def test_an_input_that_cannot_be_read_is_left_out() -> None:
    spec = NodeRegistry(
        {"A": {"input": {"required": {"x": None, "y": [], "z": [3], "ok": ["INT"]}, "optional": 3}}}
    )["A"]
    assert list(spec.inputs) == ["ok"]


def _declared(raw: dict[str, Any]) -> dict[str, Any]:
    return {**raw["input"].get("optional", {}), **raw["input"].get("required", {})}


def test_recorded_node_lists_are_read_without_loss(object_info: dict[str, Any]) -> None:
    library = NodeRegistry(object_info)
    assert len(library) == len(object_info)
    for class_type, spec in library.items():
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


def test_the_newer_server_has_dynamic_inputs_with_their_templates() -> None:
    library = NodeRegistry(recorded_object_info("0.33.0"))
    kinds = {input_.type for spec in library.values() for input_ in spec.inputs.values()}
    assert {"COMFY_DYNAMICCOMBO_V3", "COMFY_AUTOGROW_V3", "COMFY_MATCHTYPE_V3"} <= kinds
    assert "template" in library["BatchImagesNode"].inputs["images"].options
    assert library["LoadImage"].inputs["image"].upload == "image"


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
def test_any_json_gives_specs_or_the_one_typed_error(raw: Any) -> None:
    try:
        library = NodeRegistry(raw)
    except ComfyUIConnectionError:
        return
    for spec in library.values():
        assert isinstance(spec, NodeSpec)
        assert all(isinstance(input_, InputSpec) for input_ in spec.inputs.values())


@given(st.dictionaries(st.sampled_from(["input", "input_order", "output"]), anything))
def test_any_class_gives_a_spec(raw: dict[str, Any]) -> None:
    spec = NodeRegistry({"A": raw})["A"]
    assert len(spec.output_names) == len(spec.output_is_list) == len(spec.outputs)
