"""A front end to ComfyUI for people who do not want nodes, and the Python client under it.

Names are loaded on first use, so that ``import comfy_ui`` costs milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy_names import lazy_names

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
    "LanguageModelError": "errors",
    "MissingFeatureError": "errors",
    "MissingModel": "errors",
    "MissingModelsError": "errors",
    "MissingNodesError": "errors",
    "ModelDownloadError": "errors",
    "OutOfMemoryError": "errors",
    "OutputMissingError": "errors",
    "Problem": "errors",
    "ServerRejectedError": "errors",
    "StorageError": "errors",
    "UnknownPresetError": "errors",
    "ValidationError": "errors",
    "WorkLimitError": "errors",
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
    "aanalyze_prompt": "prompts",
    "adescribe_image": "prompts",
    "aenhance_prompt": "prompts",
    "analyze_prompt": "prompts",
    "describe_image": "prompts",
    "enhance_prompt": "prompts",
    "expand_wildcards": "prompts",
    "stream_enhance": "prompts",
    "ComfyHealth": "health",
    "check_health": "health",
}

if TYPE_CHECKING:
    from .client import (
        ComfyClient as ComfyClient,
        ComfyWSClient as ComfyWSClient,
        OutputFile as OutputFile,
        Progress as Progress,
        Result as Result,
    )
    from .errors import (
        AuthenticationError as AuthenticationError,
        CircuitOpenError as CircuitOpenError,
        ComfyHeadlessError as ComfyHeadlessError,
        ComfyUIConnectionError as ComfyUIConnectionError,
        ComfyUIError as ComfyUIError,
        ComfyUIOfflineError as ComfyUIOfflineError,
        GenerationCancelledError as GenerationCancelledError,
        GenerationError as GenerationError,
        GenerationFailedError as GenerationFailedError,
        GenerationTimeoutError as GenerationTimeoutError,
        InvalidAddressError as InvalidAddressError,
        InvalidWorkflowError as InvalidWorkflowError,
        JobLostError as JobLostError,
        LanguageModelError as LanguageModelError,
        MissingFeatureError as MissingFeatureError,
        MissingModel as MissingModel,
        MissingModelsError as MissingModelsError,
        MissingNodesError as MissingNodesError,
        ModelDownloadError as ModelDownloadError,
        OutOfMemoryError as OutOfMemoryError,
        OutputMissingError as OutputMissingError,
        Problem as Problem,
        ServerRejectedError as ServerRejectedError,
        StorageError as StorageError,
        UnknownPresetError as UnknownPresetError,
        ValidationError as ValidationError,
        WorkLimitError as WorkLimitError,
    )
    from .features import (
        FEATURES as FEATURES,
        check_feature as check_feature,
        get_install_hint as get_install_hint,
        list_available_features as list_available_features,
        list_missing_features as list_missing_features,
        require_feature as require_feature,
    )
    from .health import ComfyHealth as ComfyHealth, check_health as check_health
    from .prompts import (
        EnhancedPrompt as EnhancedPrompt,
        PromptAnalysis as PromptAnalysis,
        aanalyze_prompt as aanalyze_prompt,
        adescribe_image as adescribe_image,
        aenhance_prompt as aenhance_prompt,
        analyze_prompt as analyze_prompt,
        describe_image as describe_image,
        enhance_prompt as enhance_prompt,
        expand_wildcards as expand_wildcards,
        stream_enhance as stream_enhance,
    )
    from .settings import Settings as Settings, load_settings as load_settings
    from .workflow import (
        VIDEO_PRESETS as VIDEO_PRESETS,
        Control as Control,
        Metadata as Metadata,
        Preset as Preset,
        Workflow as Workflow,
        check_workflow as check_workflow,
        compile_workflow as compile_workflow,
        convert_workflow as convert_workflow,
        find_controls as find_controls,
        get_preset as get_preset,
        get_recommended_preset as get_recommended_preset,
        list_presets as list_presets,
        list_video_presets as list_video_presets,
        load_workflow as load_workflow,
        read_metadata as read_metadata,
    )
else:  # hidden from mypy, which takes a computed __all__ for an empty one
    __getattr__, __dir__ = lazy_names(__name__, _WHERE)
    __all__ = [*_WHERE, "__version__"]  # noqa: PLE0604 -- the keys are strings
