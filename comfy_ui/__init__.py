"""A front end to ComfyUI for people who do not want nodes, and the Python client under it.

Names are loaded on first use, so that ``import comfy_ui`` costs milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name -> module that has it. Type checkers read the imports below instead.
_WHERE = {
    "FEATURES": "features",
    "check_feature": "features",
    "get_install_hint": "features",
    "list_available_features": "features",
    "list_missing_features": "features",
    "require_feature": "features",
    "Settings": "settings",
    "load_settings": "settings",
    "AuthenticationError": "errors",
    "CircuitOpenError": "errors",
    "ComfyHeadlessError": "errors",
    "ComfyUIConnectionError": "errors",
    "ComfyUIError": "errors",
    "ComfyUIOfflineError": "errors",
    "GenerationCancelledError": "errors",
    "GenerationError": "errors",
    "GenerationFailedError": "errors",
    "GenerationTimeoutError": "errors",
    "InvalidAddressError": "errors",
    "InvalidWorkflowError": "errors",
    "JobLostError": "errors",
    "MissingFeatureError": "errors",
    "MissingModel": "errors",
    "MissingModelsError": "errors",
    "MissingNodesError": "errors",
    "OutOfMemoryError": "errors",
    "OutputMissingError": "errors",
    "Problem": "errors",
    "ServerRejectedError": "errors",
    "StorageError": "errors",
    "UnknownPresetError": "errors",
    "ValidationError": "errors",
    "ComfyClient": "client",
    "ComfyWSClient": "client",
    "OutputFile": "client",
    "Progress": "client",
    "Result": "client",
    "Control": "workflow",
    "Metadata": "workflow",
    "Preset": "workflow",
    "VIDEO_PRESETS": "workflow",
    "Workflow": "workflow",
    "check_workflow": "workflow",
    "compile_workflow": "workflow",
    "convert_workflow": "workflow",
    "find_controls": "workflow",
    "get_preset": "workflow",
    "get_recommended_preset": "workflow",
    "list_presets": "workflow",
    "list_video_presets": "workflow",
    "load_workflow": "workflow",
    "read_metadata": "workflow",
    "EnhancedPrompt": "prompts",
    "PromptAnalysis": "prompts",
    "analyze_prompt": "prompts",
    "enhance_prompt": "prompts",
    "ComfyHealth": "health",
    "check_health": "health",
}

if TYPE_CHECKING:
    from .client import ComfyClient, ComfyWSClient, OutputFile, Progress, Result
    from .errors import (
        AuthenticationError,
        CircuitOpenError,
        ComfyHeadlessError,
        ComfyUIConnectionError,
        ComfyUIError,
        ComfyUIOfflineError,
        GenerationCancelledError,
        GenerationError,
        GenerationFailedError,
        GenerationTimeoutError,
        InvalidAddressError,
        InvalidWorkflowError,
        JobLostError,
        MissingFeatureError,
        MissingModel,
        MissingModelsError,
        MissingNodesError,
        OutOfMemoryError,
        OutputMissingError,
        Problem,
        ServerRejectedError,
        StorageError,
        UnknownPresetError,
        ValidationError,
    )
    from .features import (
        FEATURES,
        check_feature,
        get_install_hint,
        list_available_features,
        list_missing_features,
        require_feature,
    )
    from .health import ComfyHealth, check_health
    from .prompts import EnhancedPrompt, PromptAnalysis, analyze_prompt, enhance_prompt
    from .settings import Settings, load_settings
    from .workflow import (
        VIDEO_PRESETS,
        Control,
        Metadata,
        Preset,
        Workflow,
        check_workflow,
        compile_workflow,
        convert_workflow,
        find_controls,
        get_preset,
        get_recommended_preset,
        list_presets,
        list_video_presets,
        load_workflow,
        read_metadata,
    )


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value  # the next use does not come here again
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})


__all__ = [*_WHERE, "__version__"]  # noqa: PLE0604 -- the keys are strings
