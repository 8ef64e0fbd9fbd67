"""ControlNets and references in the graphs of each model family, on recorded servers."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest

from comfy_ui.errors import UnknownModelError, ValidationError
from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.workflow.checks.allow_list import check_allowed, is_allowed
from comfy_ui.workflow.checks.graph_checks import check_workflow
from comfy_ui.workflow.conditioning.control_types import CONTROL_TYPES, preprocess_graph
from comfy_ui.workflow.conditioning.sampling_inputs import sampling_inputs
from comfy_ui.workflow.conditioning.segment_graph import segment_graph
from comfy_ui.workflow.graph import as_link
from comfy_ui.workflow.prepare import PreparedGraph, prepare
from comfy_ui.workflow.presets.preset_store import load_presets
from tests.conftest import recorded_object_info

PRESETS = load_presets()
UPLOADS = frozenset({"a.png", "b.png", "c.png", "d.png"})
MODELS = {
    "ControlNetLoader.control_net_name": [
        "control_v11p_sd15_canny.pth",
        "FLUX.1-dev-ControlNet-Union-Pro-2.0.safetensors",
        "flux_inpaint_alimama.safetensors",
        "Qwen-Image-InstantX-ControlNet-Union.safetensors",
        "sd3.5_large_controlnet_canny.safetensors",
        "xinsir/controlnet-depth-sdxl-1.0.safetensors",
        "xinsir/controlnet-union-sdxl-promax.safetensors",
    ],
    "ModelPatchLoader.name": [
        "qwen_image_canny_diffsynth_controlnet.safetensors",
        "Z-Image-Turbo-Fun-Controlnet-Union.safetensors",
    ],
    "StyleModelLoader.style_model_name": ["flux1-redux-dev.safetensors"],
    "CLIPVisionLoader.clip_name": ["sigclip_vision_patch14_384.safetensors"],
    "CheckpointLoaderSimple.ckpt_name": ["sam/sam3.1_multiplex_fp16.safetensors"],
    "LoadDA3Model.model_name": ["depth_anything_3_mono_large.safetensors"],
}
IP_ADAPTER = {
    "IPAdapterUnifiedLoader": {
        "input": {"required": {"model": ["MODEL"], "preset": [["PLUS (high strength)"]]}},
        "output": ["MODEL", "IPADAPTER"],
    },
    "IPAdapter": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "ipadapter": ["IPADAPTER"],
                "image": ["IMAGE"],
                "weight": ["FLOAT", {"min": -1, "max": 3}],
                "start_at": ["FLOAT", {"min": 0, "max": 1}],
                "end_at": ["FLOAT", {"min": 0, "max": 1}],
                "weight_type": [["standard", "prompt is more important", "style transfer"]],
            }
        },
        "output": ["MODEL"],
    },
}


@cache
def server(version: str = "0.33.0", *, ip_adapter: bool = False) -> NodeRegistry:
    raw = copy.deepcopy(recorded_object_info(version))
    for where, files in MODELS.items():
        class_type, _, name = where.partition(".")
        if class_type not in raw:
            continue
        declared = raw[class_type]["input"]["required"][name]
        if isinstance(declared[0], list):
            declared[0] = files
        else:
            declared[1]["options"] = files
    return NodeRegistry({**raw, **(IP_ADAPTER if ip_adapter else {})})


def prepared(preset: str, registry: NodeRegistry | None = None, **values: Any) -> PreparedGraph:
    chosen = PRESETS[preset]
    for param in chosen.params:
        if param.role in {"image", "mask"} and not param.optional:
            values.setdefault(param.id, "d.png")
    return prepare(
        chosen,
        values,
        presets=PRESETS,
        object_info=[registry or server()],
        uploads=UPLOADS,
        guest_uploads=UPLOADS,
    )


def errors(job: PreparedGraph) -> list[str]:
    """The problems of a graph other than missing files of the preset."""
    return [str(p) for p in job.problems if p.severity == "error" and p.kind != "missing_model"]


def nodes(job: PreparedGraph, class_type: str) -> list[dict[str, Any]]:
    return [node["inputs"] for node in job.graph.values() if node["class_type"] == class_type]


def behind(job: PreparedGraph, name: str) -> list[str]:
    """The classes that feed this input of the samplers, nearest first."""
    classes = []
    link = as_link(job.graph[sampling_inputs(job.graph)[0].node]["inputs"][name])
    while link is not None:
        node = job.graph[link.node]
        classes.append(node["class_type"])
        link = as_link(node["inputs"].get(name, node["inputs"].get("conditioning")))
    return classes


@pytest.mark.parametrize(
    ("preset", "model"),
    [
        ("sd15", "control_v11p_sd15_canny.pth"),
        ("sdxl", "xinsir/controlnet-union-sdxl-promax.safetensors"),
        ("sdxl_hires", "xinsir/controlnet-union-sdxl-promax.safetensors"),
        ("sdxl_inpaint", "xinsir/controlnet-union-sdxl-promax.safetensors"),
        ("sd35_large", "sd3.5_large_controlnet_canny.safetensors"),
        ("flux1_dev", "FLUX.1-dev-ControlNet-Union-Pro-2.0.safetensors"),
        ("qwen_image_2512", "qwen_image_canny_diffsynth_controlnet.safetensors"),
        ("z_image_turbo", "Z-Image-Turbo-Fun-Controlnet-Union.safetensors"),
    ],
)
def test_prepare_controlnet_of_each_family_gives_a_valid_and_allowed_graph(
    preset: str, model: str
) -> None:
    job = prepared(preset, controlnets=[{"image": "a.png", "type": "canny", "strength": 0.7}])
    assert errors(job) == []
    assert job.values["controlnets"] == [
        {"image": "a.png", "type": "canny", "strength": 0.7, "model": model}
    ]
    assert len(nodes(job, "Canny")) == 1
    applied = [*nodes(job, "ControlNetApplyAdvanced"), *nodes(job, "QwenImageDiffsynthControlnet")]
    assert {(one["strength"], "vae" in one) for one in applied} == {(0.7, True)}
    assert is_allowed(job.graph, PRESETS[preset], UPLOADS)


def test_prepare_controlnet_sits_between_conditioning_and_every_sampler() -> None:
    job = prepared("sdxl_hires", controlnets="canny=a.png,start=0.1,end=0.6")
    assert len(sampling_inputs(job.graph)) == 2
    for sampling in sampling_inputs(job.graph):
        for slot, name in enumerate(("positive", "negative")):
            node, output = job.graph[sampling.node]["inputs"][name]
            assert job.graph[node]["class_type"] == "ControlNetApplyAdvanced"
            assert output == slot
    (applied,) = nodes(job, "ControlNetApplyAdvanced")
    assert (applied["start_percent"], applied["end_percent"]) == (0.1, 0.6)


def test_prepare_several_controlnets_form_a_chain_in_order() -> None:
    job = prepared(
        "sdxl",
        controlnets=[
            {"image": "a.png", "type": "depth"},
            {"image": "b.png", "type": "pose", "preprocessed": True},
            {"image": "c.png", "type": "tile", "enabled": False},
        ],
    )
    assert errors(job) == []
    assert behind(job, "positive") == ["ControlNetApplyAdvanced"] * 2 + ["CLIPTextEncode"]
    assert nodes(job, "ControlNetLoader") == [
        {"control_net_name": "xinsir/controlnet-depth-sdxl-1.0.safetensors"},
        {"control_net_name": "xinsir/controlnet-union-sdxl-promax.safetensors"},
    ]
    assert [one["type"] for one in nodes(job, "SetUnionControlNetType")] == ["openpose"]
    assert len(nodes(job, "DA3Render")) == 1
    assert {one["image"] for one in nodes(job, "LoadImage")} == {"a.png", "b.png"}
    assert job.values["controlnets"][2] == {
        "image": "c.png", "type": "tile", "strength": 1.0, "enabled": False
    }  # fmt: skip


def test_prepare_union_type_that_an_old_core_lacks_is_auto() -> None:
    raw = copy.deepcopy({**server().raw})
    raw["SetUnionControlNetType"]["input"]["required"]["type"][1]["options"] = ["auto", "depth"]
    job = prepared("sdxl", NodeRegistry(raw), controlnets="tile=a.png")
    assert [one["type"] for one in nodes(job, "SetUnionControlNetType")] == ["auto"]


def test_prepare_flux_union_is_not_told_the_type_of_another_numbering() -> None:
    job = prepared("flux1_dev", controlnets="canny=a.png")
    assert nodes(job, "SetUnionControlNetType") == []


def test_prepare_inpaint_controlnet_reads_the_transparency_as_mask() -> None:
    job = prepared("flux1_dev", controlnets="inpaint=a.png")
    (applied,) = nodes(job, "ControlNetInpaintingAliMamaApply")
    assert applied["image"] == [applied["mask"][0], 0]
    assert applied["mask"][1] == 1
    assert errors(job) == []


@pytest.mark.parametrize(
    ("preset", "value", "message"),
    [
        ("sdxl", "canny=a.png,model=xinsir/union-sdxl-promaxx", "controlnet-union-sdxl-promax"),
        ("sdxl", "inpaint=a.png", "Flux.1"),
        ("sdxl", "lineart=a.png", "comfyui_controlnet_aux"),
        ("sdxl", "cannny=a.png", "Did you mean 'canny'"),
        ("sd15", "pose=a.png,preprocessed=true", "models/controlnet"),
        ("z_image_turbo", "canny=a.png,end=0.5", "start and end"),
        ("ltxv_t2v", "canny=a.png", "takes no ControlNets"),
        ("qwen_image_edit_2511", "canny=a.png", "takes no ControlNets"),
        ("sdxl", "canny=a.png,strength=11", "0 to 10"),
        ("sdxl", "canny=a.png,start=0.5,end=0.5", "end after it starts"),
        ("sdxl", "canny", "TYPE=IMAGE"),
    ],
)
def test_prepare_controlnet_that_cannot_work_raises_with_a_cure(
    preset: str, value: str, message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        prepared(preset, controlnets=value)
    assert message in f"{caught.value.message} {caught.value.hint}"


def test_prepare_unknown_model_without_effect_is_kept() -> None:
    value = {"image": "a.png", "type": "canny", "strength": 0.0, "model": "gone.safetensors"}
    assert prepared("sdxl", controlnets=[value]).values["controlnets"] == [value]


def test_prepare_image_that_was_not_uploaded_is_refused_for_guests() -> None:
    for value in ({"controlnets": "canny=other.png"}, {"references": "other.png"}):
        with pytest.raises(ValidationError, match="own uploads"):
            prepared("flux1_dev", **value)


@pytest.mark.parametrize(
    ("preset", "values", "chain"),
    [
        ("flux1_dev", {}, ["StyleModelApply"] * 2 + ["FluxGuidance", "CLIPTextEncode"]),
        (
            "flux_kontext",
            {},
            ["ReferenceLatent"] * 2 + ["FluxGuidance", "ReferenceLatent", "CLIPTextEncode"],
        ),
        ("flux2_klein_edit", {}, ["ReferenceLatent"] * 3 + ["CLIPTextEncode"]),
    ],
)
def test_prepare_references_of_flux_are_chained_before_the_sampler(
    preset: str, values: dict[str, Any], chain: list[str]
) -> None:
    job = prepared(preset, references=["a.png,strength=0.6", "b.png"], **values)
    assert errors(job) == []
    assert behind(job, "positive") == chain
    assert is_allowed(job.graph, PRESETS[preset], UPLOADS)
    if chain[0] == "StyleModelApply":
        assert [one["strength"] for one in nodes(job, "StyleModelApply")] == [0.6, 1.0]


def test_prepare_references_of_a_guider_without_cfg_reach_it() -> None:
    job = prepared("flux2_dev", references="a.png")
    assert errors(job) == []
    assert behind(job, "conditioning") == ["ReferenceLatent", "FluxGuidance", "CLIPTextEncode"]


def test_prepare_references_of_an_edit_model_fill_its_empty_inputs() -> None:
    job = prepared("qwen_image_edit_2511", image2="b.png", references=["c.png"])
    assert errors(job) == []
    for encoder in nodes(job, "TextEncodeQwenImageEditPlus"):
        third = job.graph[encoder["image3"][0]]["inputs"]["image"]
        assert (job.graph[encoder["image2"][0]]["inputs"]["image"], third) == ("b.png", "c.png")
    assert check_allowed(job.graph, PRESETS["qwen_image_edit_2511"], UPLOADS) == []
    with pytest.raises(ValidationError, match="1 more reference images, not 2"):
        prepared("qwen_image_edit_2511", image2="b.png", references=["c.png", "d.png"])


def test_prepare_references_of_sdxl_use_ip_adapter_by_kind() -> None:
    job = prepared(
        "sdxl",
        server(ip_adapter=True),
        references=["a.png,kind=style,strength=0.5"],
        controlnets="canny=b.png",
    )
    assert errors(job) == []
    (adapter,) = nodes(job, "IPAdapter")
    assert (adapter["weight"], adapter["weight_type"]) == (0.5, "style transfer")
    assert is_allowed(job.graph, PRESETS["sdxl"], UPLOADS)


@pytest.mark.parametrize(
    ("preset", "message"),
    [("sdxl", "ComfyUI_IPAdapter_plus"), ("anima", "takes no reference images")],
)
def test_prepare_references_that_cannot_work_raise_with_a_cure(preset: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        prepared(preset, references="a.png")
    assert message in f"{caught.value.message} {caught.value.hint}"


def test_prepare_redux_without_its_model_names_the_file() -> None:
    raw = recorded_object_info("0.33.0")
    with pytest.raises(UnknownModelError) as caught:
        prepared("flux1_dev", NodeRegistry(raw), references="a.png")
    assert "flux1-redux-dev.safetensors" in caught.value.hint
    assert "models/style_models" in caught.value.hint


def test_prepare_workflow_with_controlnets_and_references_gets_both() -> None:
    graph = copy.deepcopy(PRESETS["flux1_dev"].graph)
    job = prepare(
        graph,
        {"controlnets": "canny=a.png", "references": "b.png"},
        presets=PRESETS,
        object_info=[server()],
        uploads=UPLOADS,
    )
    assert errors(job) == []
    assert behind(job, "positive")[:2] == ["StyleModelApply", "ControlNetApplyAdvanced"]
    assert job.values["controlnets"][0]["model"].startswith("FLUX.1")
    assert graph == PRESETS["flux1_dev"].graph


@pytest.mark.parametrize(
    ("class_type", "name", "value"),
    [
        ("ControlNetLoader", "control_net_name", "../../secret.safetensors"),
        ("LoadImage", "image", "other.png"),
        ("ControlNetApplyAdvanced", "strength", 1e9),
        ("ControlNetApplyAdvanced", "positive", 3),
        ("Canny", "low_threshold", 0.9),
        ("Canny", "more", "x"),
    ],
)
def test_check_allowed_changed_controlnet_node_is_refused(
    class_type: str, name: str, value: Any
) -> None:
    graph = copy.deepcopy(prepared("sdxl", controlnets="canny=a.png").graph)
    assert check_allowed(graph, PRESETS["sdxl"], UPLOADS) == []
    node = next(node for node in graph.values() if node["class_type"] == class_type)
    node["inputs"][name] = value
    assert check_allowed(graph, PRESETS["sdxl"], UPLOADS) != []


def test_check_allowed_loaded_image_in_place_of_the_preset_s_own_input_is_refused() -> None:
    graph = copy.deepcopy(prepared("sdxl", controlnets="canny=a.png").graph)
    picture = next(key for key, node in graph.items() if node["class_type"] == "LoadImage")
    decoder = next(node for node in graph.values() if node["class_type"] == "SaveImage")
    decoder["inputs"]["images"] = [picture, 0]
    assert check_allowed(graph, PRESETS["sdxl"], UPLOADS) != []


def test_preprocess_graph_only_prepares_the_picture() -> None:
    graph = preprocess_graph("canny", "a.png", server())
    assert [node["class_type"] for node in graph.values()] == ["LoadImage", "Canny", "PreviewImage"]
    with pytest.raises(ValidationError, match="cannot prepare"):
        preprocess_graph("lineart", "a.png", server())


@pytest.mark.parametrize("what", [{"text": "the dog"}, {"points": [(3, 4), (9, 9)]}])
def test_segment_graph_is_valid_on_a_server_with_sam3(what: dict[str, Any]) -> None:
    graph = segment_graph("a.png", server(), **what)
    problems = check_workflow(graph, server(), uploads=UPLOADS)
    assert [str(one) for one in problems if one.severity == "error"] == []
    with pytest.raises(ValidationError, match="Say what to select"):
        segment_graph("a.png", server())
    with pytest.raises(ValidationError, match="no SAM 3 model"):
        segment_graph("a.png", NodeRegistry(recorded_object_info("0.33.0")), **what)
    with pytest.raises(ValidationError, match="cannot select"):
        segment_graph("a.png", server("0.3.64"), **what)


def test_control_types_nodes_of_core_are_declared_so_by_the_recorded_server() -> None:
    """Each input of the table exists, and each required one is set."""
    registry = server()
    declared = [
        (registry[entry["class_type"]], entry["inputs"])
        for control_type in CONTROL_TYPES.values()
        for preprocessor in control_type.preprocessors
        for entry in preprocessor.nodes.values()
        if entry["class_type"] in registry
    ]
    assert len(declared) >= 10
    for spec, inputs in declared:
        names = {name.partition(".")[0] for name in inputs}
        assert names <= spec.inputs.keys()
        assert {name for name, one in spec.inputs.items() if one.required} <= names
