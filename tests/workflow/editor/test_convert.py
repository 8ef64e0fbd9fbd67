"""Conversion from editor format to API format on small files, one rule at a time."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from comfy_ui.errors import InvalidWorkflowError, MissingNodesError
from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.workflow.editor import convert, convert_workflow
from tests.workflow.editor.editor_files import SERVER, File, border, node_class, text_to_image


def inputs(file: File, node: str) -> dict[str, Any]:
    return convert_workflow(file.json, SERVER)[node]["inputs"]


@pytest.mark.parametrize("version", [0.4, 1.0])
def test_convert_workflow_either_version_matches_graph_of_editor(version):
    graph = convert_workflow(text_to_image(version=version).json, SERVER)
    assert graph["5"] == {
        "class_type": "KSampler",
        "inputs": {
            "seed": 42,
            "steps": 20,
            "cfg": 7.5,
            "sampler_name": "euler",
            "scheduler": "karras",
            "denoise": 1.0,
            "model": ["1", 0],
            "positive": ["2", 0],
            "negative": ["3", 0],
            "latent_image": ["4", 0],
        },
        "_meta": {"title": "KSampler"},
    }
    assert graph["2"]["_meta"]["title"] == "Positive"
    assert graph["7"]["_meta"]["title"] == "Save Image"
    assert len(graph) == 7


def test_convert_leaves_file_and_object_info_unchanged():
    file, server = text_to_image().json, copy.deepcopy(SERVER)
    before = copy.deepcopy(file)
    convert(file, server)
    assert (file, server) == (before, SERVER)


def test_convert_workflow_registry_and_raw_object_info_are_equivalent():
    file = text_to_image().json
    assert convert_workflow(file, NodeRegistry(SERVER)) == convert_workflow(file, SERVER)


class TestWidgetValues:
    def test_widget_values_without_seed_control_are_aligned(self):
        file = text_to_image()
        file.nodes[4]["widgets_values"].remove("randomize")
        assert inputs(file, "5")["steps"] == 20

    def test_widget_values_by_name_override_positions(self):
        file = text_to_image()
        file.nodes[3]["widgets_values"] = [1, 2, 3]
        file.nodes[3]["widgets_values_named"] = {"width": 640, "height": 480}
        assert inputs(file, "4") == {"width": 640, "height": 480, "batch_size": 1}

    def test_widget_values_object_is_read_by_name(self):
        file = text_to_image()
        file.nodes[3]["widgets_values"] = {"height": 480, "videopreview": {"hidden": False}}
        assert inputs(file, "4") == {"width": 512, "height": 480, "batch_size": 1}

    def test_widget_values_missing_use_class_defaults(self):
        file = File()
        file.add("ImageScale")
        assert inputs(file, "1") == {"upscale_method": "area", "width": 512, "note": ""}

    def test_widget_values_float_noise_is_rounded_and_small_numbers_stay(self):
        file = text_to_image()
        file.nodes[4]["widgets_values"][3] = 5.000000000000001
        assert inputs(file, "5")["cfg"] == 5.0
        file.nodes[4]["widgets_values"][3] = 1e-9
        assert inputs(file, "5")["cfg"] == 1e-9

    def test_widget_values_nan_uses_default(self):
        file = text_to_image()
        file.nodes[4]["widgets_values"][3] = float("nan")
        assert inputs(file, "5")["cfg"] == 8.0

    @pytest.mark.parametrize("saved", ["sub\\x.safetensors", "sub/x.safetensors"])
    def test_widget_values_subfolder_path_uses_spelling_of_server(self, saved):
        server = SERVER | {"Loader": node_class({"name": [["sub/x.safetensors"]]})}
        file = File()
        file.add("Loader", saved)
        graph = convert_workflow(file.json, server)
        assert graph["1"]["inputs"]["name"] == "sub/x.safetensors"

    def test_widget_values_list_is_wrapped_unlike_link(self):
        file = File()
        file.add("Multi", ["a", "b"])
        assert inputs(file, "1") == {"tags": {"__value__": ["a", "b"]}}

    def test_widget_values_curve_has_type_marker(self):
        file = File()
        file.add("CurveEditor")
        assert inputs(file, "1")["curve"]["__type__"] == "CURVE"

    def test_widget_values_image_compare_consumes_no_value(self):
        file = File()
        file.add("ImageCompare")
        assert inputs(file, "1") == {"compare_view": {"__value__": ["", ""]}}

    def test_widget_values_buttons_of_3d_node_are_skipped(self):
        file = File()
        file.add("Load3D", "toy.glb", "upload3dmodel", "uploadExtraResources", "clear", "", 256)
        assert inputs(file, "1") == {"model_file": "toy.glb", "image": "", "width": 256}

    def test_widget_values_custom_combo_sends_options_and_index(self):
        file = File()
        file.add("CustomCombo", "b", 7, "a", "b")
        assert inputs(file, "1") == {"choice": "b", "index": 1, "option1": "a", "option2": "b"}


class TestDynamicInputs:
    def test_dynamic_combo_selected_option_adds_its_inputs(self):
        file = File()
        file.add("Save", "png", "16", 9, "x")
        assert inputs(file, "1") == {
            "format": "png",
            "format.depth": "16",
            "format.level": 9,
            "name": "x",
        }

    def test_dynamic_combo_option_without_inputs_consumes_no_values(self):
        file = File()
        file.add("Save", "auto", "x")
        assert inputs(file, "1") == {"format": "auto", "name": "x"}

    def test_autogrow_inputs_keep_socket_names(self):
        file = File()
        first, second, batch = file.add("LoadImage", "cat.png"), file.add("LoadImage"), None
        batch = file.add("Batch")
        file.link(first, 0, batch, "images.image0", "IMAGE")
        file.link(second, 0, batch, "images.image1", "IMAGE")
        assert inputs(file, "3") == {"images.image0": ["1", 0], "images.image1": ["2", 0]}

    def test_dynamic_group_count_sets_number_of_rows(self):
        file = File()
        file.add("LoraStack", "first", 2, "B", 0.5, "A", 0.25, "last")
        assert inputs(file, "1") == {
            "head": "first",
            "loras": 2,
            "loras.0.name": "B",
            "loras.0.strength": 0.5,
            "loras.1.name": "A",
            "loras.1.strength": 0.25,
            "tail": "last",
        }

    def test_dynamic_group_count_is_limited_by_class(self):
        file = File()
        file.add("LoraStack", "first", 10**9)
        assert "loras.2.name" in inputs(file, "1")
        assert "loras.3.name" not in inputs(file, "1")

    def test_matchtype_input_is_socket(self):
        file = File()
        picture, switch = file.add("LoadImage"), file.add("Switch", True)
        file.link(picture, 0, switch, "on_true", "IMAGE")
        assert inputs(file, "2") == {"switch": True, "on_true": ["1", 0]}


class TestLinks:
    def test_link_with_stale_slot_number_is_resolved_by_id(self):
        file = text_to_image()
        file.links = [(*link[:4], 99, link[5]) for link in file.links]
        assert inputs(file, "5")["latent_image"] == ["4", 0]

    def test_link_to_widget_replaces_its_value(self):
        file = text_to_image()
        number = file.add("PrimitiveInt", 33, "fixed")
        file.link(number, 0, file.nodes[4], "steps", "INT", widget={"name": "steps"})
        assert inputs(file, "5")["steps"] == ["8", 0]

    def test_link_through_3000_reroutes_is_followed(self):
        file = File()
        last = file.add("LoadImage", "cat.png")
        for _ in range(3000):
            reroute = file.add("Reroute")
            file.link(last, 0, reroute, "", "*")
            last = reroute
        save = file.add("SaveImage")
        file.link(last, 0, save, "images", "IMAGE")
        assert inputs(file, str(save["id"]))["images"] == ["1", 0]

    def test_link_to_missing_id_omits_input(self):
        file = text_to_image()
        file.nodes[6]["inputs"][0]["link"] = 12345
        assert inputs(file, "7") == {"filename_prefix": "cat"}

    def test_links_null_entry_is_skipped(self):
        file = text_to_image().json
        file["links"].insert(2, None)
        assert len(convert_workflow(file, SERVER)) == 7

    def test_link_through_set_and_get_node_is_resolved(self):
        file = File()
        picture = file.add("LoadImage", "cat.png")
        setter, getter, save = file.add("SetNode", "pic"), file.add("GetNode", "pic"), None
        save = file.add("SaveImage")
        file.link(picture, 0, setter, "IMAGE", "IMAGE")
        file.link(getter, 0, save, "images", "IMAGE")
        assert inputs(file, "4")["images"] == ["1", 0]
        assert set(convert_workflow(file.json, SERVER)) == {"1", "4"}

    def test_editor_primitive_value_is_written_to_linked_widgets(self):
        file = text_to_image()
        primitive = file.add("PrimitiveNode", 99, "fixed")
        file.link(primitive, 0, file.nodes[4], "seed", "INT", widget={"name": "seed"})
        assert inputs(file, "5")["seed"] == 99
        assert "8" not in convert_workflow(file.json, SERVER)

    def test_note_nodes_are_omitted(self):
        file = text_to_image()
        file.add("Note", "hello")
        file.add("MarkdownNote", "# hello")
        assert len(convert_workflow(file.json, SERVER)) == 7

    def test_node_with_duplicate_id_gets_new_id(self):
        file = text_to_image()
        file.nodes.append({**file.nodes[6], "title": "Again"})
        graph = convert_workflow(file.json, SERVER)
        assert graph["8"]["_meta"]["title"] == "Again"
        assert graph["8"]["inputs"]["images"] == ["6", 0]


class TestModes:
    def test_muted_node_is_omitted_and_linked_widget_keeps_value(self):
        file = text_to_image()
        number = file.add("PrimitiveInt", 33, "fixed", mode=2)
        file.link(number, 0, file.nodes[4], "steps", "INT", widget={"name": "steps"})
        assert inputs(file, "5")["steps"] == 20
        assert "8" not in convert_workflow(file.json, SERVER)

    def test_muted_node_omits_sockets_it_fed(self):
        file = text_to_image()
        file.nodes[5]["mode"] = 2
        assert "images" not in inputs(file, "7")

    def test_bypassed_node_passes_input_of_same_type(self):
        file = text_to_image()
        lora = file.add("LoraLoader", "x.safetensors", 1, 1, mode=4)
        file.link(file.nodes[0], 0, lora, "model", "MODEL")
        file.link(file.nodes[0], 1, lora, "clip", "CLIP")
        file.link(lora, 0, file.nodes[4], "model", "MODEL")
        file.link(lora, 1, file.nodes[1], "clip", "CLIP")
        assert inputs(file, "5")["model"] == ["1", 0]
        assert inputs(file, "2")["clip"] == ["1", 1]

    def test_bypassed_node_without_matching_input_passes_nothing(self):
        file = text_to_image()
        file.nodes[5]["mode"] = 4  # VAEDecode takes LATENT and VAE, and gives IMAGE
        assert "images" not in inputs(file, "7")

    def test_bypassed_node_prefers_same_slot_then_same_type(self):
        file = File()
        one, two = file.add("LoadImage", "cat.png"), file.add("LoadImage", "dog.png")
        mixer = file.add("Mixer", mode=4, outputs=[{"name": "a", "type": "IMAGE", "links": []}] * 3)
        file.link(one, 0, mixer, "a", "IMAGE")
        file.link(two, 0, mixer, "b", "IMAGE,MASK")
        saves = [file.add("SaveImage") for _ in range(3)]
        for slot, save in enumerate(saves):
            mixer["outputs"][slot] = {"name": "o", "type": "IMAGE", "links": []}
            file.link(mixer, slot, save, "images", "IMAGE")
        graph = convert_workflow(file.json, SERVER)
        fed = [graph[str(save["id"])]["inputs"]["images"] for save in saves]
        assert fed == [["1", 0], ["2", 0], ["1", 0]]

    def test_bypassed_node_of_unknown_class_is_accepted(self):
        file = text_to_image()
        lora = file.add("LoraOfTomorrow", mode=4)
        file.link(file.nodes[0], 0, lora, "model", "MODEL")
        file.link(lora, 0, file.nodes[4], "model", "MODEL")
        assert inputs(file, "5")["model"] == ["1", 0]


def with_subgraph(**instance: Any) -> File:
    """Build a workflow that loads an image, scales it in a subgraph and saves it."""
    inside = File()
    scale = inside.add("ImageScale", "lanczos", 640, "inner")
    inside.link(border(-10), 0, scale, "image", "IMAGE")
    inside.link(border(-10), 1, scale, "width", "INT", widget={"name": "width"})
    inside.link(border(-10), 2, scale, "note", "STRING", widget={"name": "note"})
    inside.link(scale, 0, border(-20), "IMAGE", "IMAGE")
    file = File()
    file.define(
        inside,
        [
            {"name": "image", "type": "IMAGE"},
            {"name": "width", "type": "INT", "label": "Size"},
            {"name": "note", "type": "STRING"},
        ],
        [{"name": "IMAGE", "type": "IMAGE"}],
    )
    picture = file.add("LoadImage", "cat.png")
    host = file.add("sub", **instance)
    save = file.add("SaveImage")
    file.link(picture, 0, host, "image", "IMAGE")
    file.link(host, 0, save, "images", "IMAGE")
    return file


class TestSubgraphs:
    def test_subgraph_inner_nodes_get_id_of_instance_as_prefix(self):
        graph = convert_workflow(with_subgraph().json, SERVER)
        assert set(graph) == {"1", "2:1", "3"}
        assert graph["2:1"]["inputs"] == {
            "upscale_method": "lanczos",
            "width": 640,
            "note": "inner",
            "image": ["1", 0],
        }
        assert graph["3"]["inputs"]["images"] == ["2:1", 0]

    @pytest.mark.parametrize(
        "spelling",
        [
            {"widgets_values": [99]},
            {"widgets_values": [99, None]},
            {"widgets_values_named": {"width": 99}},
            {"widgets_values": [99], "properties": {"proxyWidgets": [["1", "width"]]}},
            {"widgets_values": [99], "properties": {"proxyWidgets": [[1, "width"]]}},
            {"widgets_values": [99], "properties": {"proxyWidgets": [["-1", "width"]]}},
            {
                "widgets_values": ["", 99],
                "properties": {"proxyWidgets": [["1", "$$canvas-image-preview"], ["-1", "width"]]},
            },
        ],
    )
    def test_subgraph_instance_value_overrides_inner_value_in_any_spelling(self, spelling):
        assert inputs(with_subgraph(**spelling), "2:1")["width"] == 99
        assert inputs(with_subgraph(**spelling), "2:1")["note"] == "inner"

    def test_subgraph_widget_promoted_without_definition_input_is_applied(self):
        file = with_subgraph(
            widgets_values=["area"], properties={"proxyWidgets": [["1", "upscale_method"]]}
        )
        assert inputs(file, "2:1")["upscale_method"] == "area"

    def test_subgraph_instance_link_overrides_value(self):
        file = with_subgraph(widgets_values=[99])
        number = file.add("PrimitiveInt", 7, "fixed")
        file.link(number, 0, file.nodes[1], "width", "INT", widget={"name": "width"})
        assert inputs(file, "2:1")["width"] == ["4", 0]

    def test_subgraph_instance_link_from_muted_node_keeps_value(self):
        file = with_subgraph(widgets_values=[99])
        number = file.add("PrimitiveInt", 7, "fixed", mode=2)
        file.link(number, 0, file.nodes[1], "width", "INT", widget={"name": "width"})
        assert inputs(file, "2:1")["width"] == 99

    def test_subgraph_two_instances_have_separate_values(self):
        file = with_subgraph(widgets_values=[99])
        second = file.add("sub", 77)
        file.link(file.nodes[0], 0, second, "image", "IMAGE")
        graph = convert_workflow(file.json, SERVER)
        assert graph["2:1"]["inputs"]["width"] == 99
        assert graph["4:1"]["inputs"]["width"] == 77

    @pytest.mark.parametrize(("mode", "expected"), [(2, None), (4, ["1", 0])])
    def test_subgraph_muted_or_bypassed_instance_omits_inner_nodes(self, mode, expected):
        graph = convert_workflow(with_subgraph(mode=mode).json, SERVER)
        assert set(graph) == {"1", "3"}
        assert graph["3"]["inputs"].get("images") == expected

    def test_subgraph_input_with_several_widgets_uses_value_of_first(self):
        inside = File()
        first = inside.add("ImageScale", "area", 640, "x")
        second = inside.add("ImageScale", "area", 320, "y")
        for scale in (first, second):
            inside.link(border(-10), 0, scale, "width", "INT", widget={"name": "width"})
        file = File()
        file.define(inside, [{"name": "width", "type": "INT"}], [])
        file.add("sub")
        graph = convert_workflow(file.json, SERVER)
        assert [graph[key]["inputs"]["width"] for key in ("1:1", "1:2")] == [640, 640]

    def test_subgraph_promoted_curve_has_one_type_marker(self):
        inside = File()
        curve = inside.add("CurveEditor", {"points": [[0, 0], [1, 1]]})
        inside.link(border(-10), 0, curve, "curve", "CURVE", widget={"name": "curve"})
        file = File()
        file.define(inside, [{"name": "curve", "type": "CURVE"}], [])
        file.add("sub")
        assert inputs(file, "1:1")["curve"] == {
            "__type__": "CURVE",
            "__value__": {"points": [[0, 0], [1, 1]]},
        }

    def test_subgraph_passing_input_through_keeps_link(self):
        inside = File()
        inside.link(border(-10), 0, border(-20), "IMAGE", "IMAGE")
        file = File()
        port = {"name": "IMAGE", "type": "IMAGE"}
        file.define(inside, [port], [port])
        picture, host, save = file.add("LoadImage"), file.add("sub"), file.add("SaveImage")
        file.link(picture, 0, host, "IMAGE", "IMAGE")
        file.link(host, 0, save, "images", "IMAGE")
        assert inputs(file, "3")["images"] == ["1", 0]

    def nested(self, **instance: Any) -> File:
        inside = File()
        host = inside.add("sub")
        inside.link(border(-10), 0, host, "image", "IMAGE")
        inside.link(border(-10), 1, host, "width", "INT", widget={"name": "width"})
        inside.link(host, 0, border(-20), "IMAGE", "IMAGE")
        file = with_subgraph(**instance)
        file.define(
            inside,
            [{"name": "image", "type": "IMAGE"}, {"name": "size", "type": "INT"}],
            [{"name": "IMAGE", "type": "IMAGE"}],
            key="outer",
        )
        file.nodes[1]["type"] = "outer"
        return file

    def test_subgraph_nested_inner_nodes_get_full_path_as_id(self):
        graph = convert_workflow(self.nested().json, SERVER)
        assert graph["2:1:1"]["inputs"]["image"] == ["1", 0]
        assert graph["2:1:1"]["inputs"]["width"] == 640
        assert graph["3"]["inputs"]["images"] == ["2:1:1", 0]

    def test_subgraph_outermost_value_reaches_innermost_widget(self):
        assert inputs(self.nested(widgets_values=[99]), "2:1:1")["width"] == 99
        promoted = {"widgets_values": ["far"], "properties": {"proxyWidgets": [["1", "note"]]}}
        assert inputs(self.nested(**promoted), "2:1:1")["note"] == "far"

    def test_convert_origins_locate_promoted_value(self):
        origins = convert(self.nested(widgets_values=[99]).json, SERVER).origins
        assert origins["2:1:1", "width"] == ("2", "size")


class TestGroupNodes:
    def grouped(self, *values: Any) -> File:
        """Build the default workflow with its texts, size and sampler in a group node."""
        plain = text_to_image()
        members = [plain.nodes[index] for index in (1, 2, 3, 4)]
        file = File()
        file.extra["groupNodes"] = {
            "Make": {
                "nodes": [{**node, "index": place} for place, node in enumerate(members)],
                "links": [
                    [0, 0, 3, 1, 2, "CONDITIONING"],
                    [1, 0, 3, 2, 3, "CONDITIONING"],
                    [2, 0, 3, 3, 4, "LATENT"],
                ],
                "external": [],
                "config": {"2": {"input": {"batch_size": {"visible": False}}}},
            }
        }
        loader = file.add("CheckpointLoaderSimple", "a.safetensors")
        group = file.add("workflow>Make", *values)
        decode, save = file.add("VAEDecode"), file.add("SaveImage", "x")
        file.link(loader, 1, group, "clip", "CLIP")
        file.link(loader, 1, group, "Negative clip", "CLIP")
        file.link(loader, 0, group, "model", "MODEL")
        file.link(group, 0, decode, "samples", "LATENT")
        file.link(loader, 2, decode, "vae", "VAE")
        file.link(decode, 0, save, "images", "IMAGE")
        return file

    def test_group_node_expands_with_values_of_instance(self):
        file = self.grouped(
            "a dog", "ugly", 640, 480, 7, "fixed", 12, 3.5, "dpmpp_2m", "normal", 0.5
        )
        graph = convert_workflow(file.json, SERVER)
        assert graph["2:0"]["inputs"] == {"text": "a dog", "clip": ["1", 1]}
        assert graph["2:1"]["inputs"] == {"text": "ugly", "clip": ["1", 1]}
        assert graph["2:2"]["inputs"] == {"width": 640, "height": 480, "batch_size": 1}
        assert graph["2:3"]["inputs"] == {
            "seed": 7,
            "steps": 12,
            "cfg": 3.5,
            "sampler_name": "dpmpp_2m",
            "scheduler": "normal",
            "denoise": 0.5,
            "model": ["1", 0],
            "positive": ["2:0", 0],
            "negative": ["2:1", 0],
            "latent_image": ["2:2", 0],
        }
        assert graph["3"]["inputs"]["samples"] == ["2:3", 0]

    def test_group_node_without_values_uses_those_of_definition(self):
        graph = convert_workflow(self.grouped().json, SERVER)
        assert graph["2:0"]["inputs"]["text"] == "a cat"

    def test_group_node_old_type_spelling_is_accepted(self):
        file = self.grouped()
        file.nodes[1]["type"] = "workflow/Make"
        assert "2:3" in convert_workflow(file.json, SERVER)

    def test_group_node_linked_widget_uses_link(self):
        file = self.grouped()
        number = file.add("PrimitiveInt", 5, "fixed")
        file.link(number, 0, file.nodes[1], "steps", "INT", widget={"name": "steps"})
        assert convert_workflow(file.json, SERVER)["2:3"]["inputs"]["steps"] == ["5", 0]

    def test_group_node_unexplained_input_raises(self):
        file = self.grouped()
        file.link(file.nodes[0], 2, file.nodes[1], "vae", "VAE")
        with pytest.raises(InvalidWorkflowError, match="vae"):
            convert_workflow(file.json, SERVER)

    def test_group_node_containing_itself_raises(self):
        file = self.grouped()
        file.extra["groupNodes"]["Make"]["nodes"].append({"type": "workflow>Make"})
        with pytest.raises(InvalidWorkflowError, match="endlessly"):
            convert_workflow(file.json, SERVER)


class TestUnknownNodes:
    def test_convert_workflow_unknown_classes_are_reported_with_title_and_hint(self):
        file = text_to_image()
        one = file.add("Enhance", title="Make it nice", properties={"cnr_id": "enhance-pack"})
        two = file.add("CoreOfTomorrow", properties={"cnr_id": "comfy-core", "ver": "9.9.0"})
        file.link(one, 0, two, "image", "IMAGE")
        with pytest.raises(MissingNodesError) as caught:
            convert_workflow(file.json, SERVER)
        assert caught.value.class_types == ("Enhance", "CoreOfTomorrow")
        first, second = caught.value.problems
        assert (first.node, first.node_title) == ("8", "Make it nice")
        assert "enhance-pack" in first.hint
        assert "9.9.0" in second.hint

    def test_convert_workflow_unknown_class_in_subgraph_is_reported_by_path(self):
        file = with_subgraph()
        file.definitions[0]["nodes"][0]["type"] = "ImageScaleOfTomorrow"
        with pytest.raises(MissingNodesError) as caught:
            convert_workflow(file.json, SERVER)
        assert caught.value.problems[0].node == "2:1"

    def test_convert_unlinked_label_node_is_omitted_with_warning(self):
        file = text_to_image()
        file.add("Label (rgthree)", title="Step 1")
        conversion = convert(file.json, SERVER)
        assert "8" not in conversion.graph
        assert [(p.kind, p.severity) for p in conversion.problems] == [("missing_node", "warning")]


class TestInvalidValues:
    def test_convert_shifted_widget_values_are_reported_individually(self):
        file = text_to_image()
        file.nodes[4]["widgets_values"] = [20, 7.5, "euler", "karras"]  # saved without a seed
        problems = {problem.input: problem for problem in convert(file.json, SERVER).problems}
        assert problems["cfg"].kind == "invalid_input_type"
        assert problems["sampler_name"].kind == "value_not_in_list"
        assert problems["sampler_name"].node_title == "KSampler"

    def test_convert_valid_workflow_has_no_problems(self):
        assert convert(text_to_image().json, SERVER).problems == ()


def test_convert_workflow_links_created_at_run_time_raise_with_hint():
    editor = text_to_image().json
    editor["extra"] = {"ue_links": [], "links_added_by_ue": []}
    assert convert_workflow(editor, SERVER)
    editor["extra"]["ue_links"] = [{"downstream": 1, "upstream": "2", "type": "MODEL"}]
    with pytest.raises(
        InvalidWorkflowError, match="nodes create 1 links of this workflow"
    ) as caught:
        convert_workflow(editor, SERVER)
    assert "real links" in caught.value.hint
