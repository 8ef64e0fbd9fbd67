"""Validate ``POST /prompt`` with the errors and shapes of ComfyUI's own responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Prompt = Mapping[str, Any]
LONG_LIST = 20  # longer choice lists are left out of error messages
# resolved at run time; any link is allowed
WILD_TYPES = frozenset({"*", "COMFY_MATCHTYPE_V3", "COMFY_AUTOGROW_V3"})
_TRACEBACK = ['  File "demo/prompt_validation.py", in validate\n']


@dataclass(slots=True)
class ValidationResult:
    """The result: an error for the whole prompt, or the outputs that may run."""

    error: dict[str, Any] | None = None
    outputs: list[str] = field(default_factory=list)
    node_errors: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Node specs, and the differences between cores.

    ``custom(class_type, inputs)`` returns an input's name and complaint, or None.
    ``skips(class_type)`` names inputs whose choices the node checks itself.
    """

    specs: Mapping[str, Any]
    custom: Callable[[str, dict[str, Any]], tuple[str, str] | None]
    skips: Callable[[str], frozenset[str]]
    check_new_combos: bool = True
    name_cycles: bool = True


def problem(kind: str, message: str, details: str = "", **extra: Any) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


def validate(prompt: Prompt, rules: Rules, *, targets: list[str] | None = None) -> ValidationResult:
    """Validate a prompt. Values are coerced in place, as the server does.

    Raises:
        TypeError, AttributeError: the prompt is not a graph (the server answers 500).
    """
    outputs: list[str] = []
    for node_id, node in prompt.items():
        if "class_type" not in node:
            return ValidationResult(
                _no_class(node_id, "a node is missing the class_type property.")
            )
        class_type = node["class_type"]
        spec = rules.specs.get(class_type)
        if spec is None:
            return ValidationResult(_no_class(node_id, f"node {class_type} does not exist."))
        if spec["output_node"] and (targets is None or node_id in targets):
            outputs.append(node_id)
    if not outputs:
        return ValidationResult(problem("prompt_no_outputs", "Prompt has no outputs"))

    check = _PromptCheck(prompt, rules)
    verdict = ValidationResult()
    for output in outputs:
        if check.output(output):
            verdict.outputs.append(output)
            continue
        for node_id, errors in check.errors.items():
            if errors:
                entry = verdict.node_errors.setdefault(
                    node_id,
                    {
                        "errors": errors,
                        "dependent_outputs": [],
                        "class_type": prompt[node_id]["class_type"],
                    },
                )
                entry["dependent_outputs"].append(output)
    if not verdict.outputs:
        verdict.error = problem(
            "prompt_outputs_failed_validation", "Prompt outputs failed validation"
        )
    return verdict


def _no_class(node_id: str, why: str) -> dict[str, Any]:
    return problem("invalid_prompt", f"Cannot execute because {why}", f"Node ID '#{node_id}'")


def is_link(value: Any) -> bool:
    return isinstance(value, list)


def declared(spec: Mapping[str, Any], inputs: Mapping[str, Any]) -> Iterator[tuple[str, Any, bool]]:
    """Yield ``(name, declaration, required)`` of a node's inputs, chosen options included."""
    for group in ("required", "optional"):
        for name, declaration in spec["input"].get(group, {}).items():
            yield from _declared(name, declaration, group == "required", inputs)


def _declared(
    name: str, declaration: Any, required: bool, inputs: Mapping[str, Any]
) -> Iterator[tuple[str, Any, bool]]:
    if declaration[0] == "COMFY_AUTOGROW_V3":
        for full_name in inputs:
            if full_name.startswith(f"{name}."):
                yield full_name, ["*", {}], False
        return
    yield name, declaration, required
    if declaration[0] == "COMFY_DYNAMICCOMBO_V3":
        for option in declaration[1].get("options", ()):
            if option["key"] == inputs.get(name):
                for group in ("required", "optional"):
                    for inner, inner_declaration in option["inputs"].get(group, {}).items():
                        yield from _declared(
                            f"{name}.{inner}", inner_declaration, group == "required", inputs
                        )


class _PromptCheck:
    """Walks from an output to its ancestors and visits each node once."""

    def __init__(self, prompt: Prompt, rules: Rules) -> None:
        self._prompt = prompt
        self._rules = rules
        self._good: dict[str, bool] = {}
        self._path: list[str] = []
        self.errors: dict[str, list[dict[str, Any]]] = {}

    def output(self, node_id: str) -> bool:
        self._path = []
        try:
            return self._node(node_id)
        except _CycleError as cycle:
            if self._rules.name_cycles:
                self.errors[cycle.node_id] = [
                    problem(
                        "dependency_cycle",
                        "Dependency cycle detected",
                        " -> ".join(cycle.path),
                        cycle_nodes=cycle.path,
                    )
                ]
            return False
        except Exception as error:  # noqa: BLE001 -- any failure caused by a malformed node is reported
            self.errors[node_id] = [
                problem(
                    "exception_during_validation",
                    "Exception when validating node",
                    str(error),
                    exception_type=type(error).__name__,
                    traceback=_TRACEBACK,
                )
            ]
            return False

    def _node(self, node_id: str) -> bool:
        if node_id in self._good:
            return self._good[node_id]
        if node_id in self._path:
            raise _CycleError(node_id, [*self._path[self._path.index(node_id) :], node_id])
        self._path.append(node_id)
        node = self._prompt[node_id]
        inputs = node["inputs"]
        spec = self._rules.specs[node["class_type"]]
        errors: list[dict[str, Any]] = []
        good = True
        for name, declaration, required in list(declared(spec, inputs)):
            if name not in inputs:
                if required:
                    errors.append(
                        problem(
                            "required_input_missing",
                            "Required input is missing",
                            name,
                            input_name=name,
                        )
                    )
                continue
            value = inputs[name]
            if is_link(value):
                good &= self._link(name, declaration, value, errors)
            else:
                error = self._value(node["class_type"], name, declaration, inputs)
                if error is not None:
                    errors.append(error)
        if good and not errors:
            complaint = self._rules.custom(node["class_type"], inputs)
            if complaint is not None:
                name, message = complaint
                errors.append(
                    problem(
                        "custom_validation_failed",
                        "Custom validation failed for node",
                        f"{name} - {message}",
                        input_name=name,
                    )
                )
        self._path.pop()
        self.errors[node_id] = errors
        self._good[node_id] = good and not errors
        return self._good[node_id]

    def _link(
        self, name: str, declaration: Any, value: list[Any], errors: list[dict[str, Any]]
    ) -> bool:
        if len(value) != 2:
            errors.append(
                problem(
                    "bad_linked_input",
                    "Bad linked input, must be a length-2 list of [node_id, slot_index]",
                    name,
                    input_name=name,
                    input_config=declaration,
                    received_value=value,
                )
            )
            return True
        source, slot = value
        # Lookups may raise: such an error belongs to the node that uses the link.
        outputs = self._rules.specs[self._prompt[source]["class_type"]]["output"]
        received = tuple(outputs)[slot]
        input_type = "COMBO" if isinstance(declaration[0], list) else declaration[0]
        if not _fits(received, input_type):
            errors.append(
                problem(
                    "return_type_mismatch",
                    "Return type mismatch between linked nodes",
                    f"{name}, received_type({received}) mismatch input_type({input_type})",
                    input_name=name,
                    input_config=declaration,
                    received_type=received,
                    linked_node=value,
                )
            )
            return True
        try:
            return self._node(source)
        except _CycleError:
            raise
        except Exception as error:  # noqa: BLE001 -- as above, one level down
            self.errors[source] = [
                problem(
                    "exception_during_inner_validation",
                    "Exception when validating inner node",
                    str(error),
                    input_name=name,
                    input_config=declaration,
                    exception_message=str(error),
                    exception_type=type(error).__name__,
                    traceback=_TRACEBACK,
                    linked_node=value,
                )
            ]
            self._good[source] = False
            self._path = (
                self._path[: self._path.index(source)] if source in self._path else self._path
            )
            return False

    def _value(
        self, class_type: str, name: str, declaration: Any, inputs: dict[str, Any]
    ) -> dict[str, Any] | None:
        kind = declaration[0]
        options = declaration[1] if len(declaration) > 1 else {}
        value = inputs[name]
        if isinstance(value, dict) and "__value__" in value:
            value = inputs[name] = value["__value__"]
        try:
            value = inputs[name] = _coerce(kind, value)
        except (TypeError, ValueError, OverflowError) as error:
            return problem(
                "invalid_input_type",
                f"Failed to convert an input value to a {kind} value",
                f"{name}, {value}, {error}",
                input_name=name,
                input_config=declaration,
                received_value=value,
                exception_message=str(error),
            )
        if kind in ("INT", "FLOAT"):
            for key, kind_, word, outside in (
                ("min", "value_smaller_than_min", "smaller than min", float.__lt__),
                ("max", "value_bigger_than_max", "bigger than max", float.__gt__),
            ):
                limit = options.get(key)
                if limit is not None and outside(float(value), float(limit)):
                    return problem(
                        kind_,
                        f"Value {value} {word} of {limit}",
                        name,
                        input_name=name,
                        input_config=declaration,
                        received_value=value,
                    )
        choices = self._choices(kind, options)
        if choices is None or value in choices or name in self._rules.skips(class_type):
            return None
        long = len(choices) > LONG_LIST
        choices_text = f"(list of length {len(choices)})" if long else f"{choices}"
        return problem(
            "value_not_in_list",
            "Value not in list",
            f"{name}: '{value}' not in {choices_text}",
            input_name=name,
            input_config=None if long else declaration,
            received_value=value,
        )

    def _choices(self, kind: Any, options: Mapping[str, Any]) -> list[Any] | None:
        if isinstance(kind, list):
            return kind
        if not self._rules.check_new_combos:
            return None
        if kind == "COMBO" and not options.get("multiselect"):
            return options.get("options")
        if kind == "COMFY_DYNAMICCOMBO_V3":
            return [option["key"] for option in options.get("options", ())]
        return None


class _CycleError(Exception):
    def __init__(self, node_id: str, path: list[str]) -> None:
        super().__init__(" -> ".join(path))
        self.node_id = node_id
        self.path = path


def _coerce(kind: Any, value: Any) -> Any:
    match kind:
        case "INT":
            return int(value)
        case "FLOAT":
            return float(value)
        case "STRING":
            return str(value)
        case "BOOLEAN":
            return bool(value)
    return value


def _fits(output_type: Any, input_type: Any) -> bool:
    offered = {"COMBO"} if isinstance(output_type, list) else set(str(output_type).split(","))
    accepted = set(str(input_type).split(","))
    if (offered | accepted) & WILD_TYPES or offered & accepted:
        return True
    return "COMBO" in accepted and "STRING" in offered
