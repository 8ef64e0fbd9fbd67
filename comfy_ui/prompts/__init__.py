"""Prompt tools: enhance, analyze, describe, style and expand prompts.

Importing this package opens no connection, and ``openai`` is imported when a model is used. The
built-in rules need neither a model nor the network.
"""

from __future__ import annotations

from ..workflow.prompt_arrays import expand_arrays
from ..workflow.wildcards import (
    ExpandedValues,
    Expansion,
    WildcardChoice,
    WildcardFolder,
    expand_values,
    expand_wildcards,
    has_wildcards,
)
from .analyze import AnalyzeOptions, PromptAnalysis, aanalyze_prompt, analyze_prompt
from .describe import DescribeOptions, adescribe_image, describe_image
from .draft import Difference, EnhancedPrompt, Kind, Strength, differences
from .enhance import EnhanceOptions, aenhance_prompt, enhance_prompt, list_styles, stream_enhance
from .language_models.model_choice import LanguageModel, find_model
from .model_families import Tokens, count_tokens
from .styles import Style, Styles, load_styles, merge_style, read_styles

__all__ = [
    "AnalyzeOptions",
    "DescribeOptions",
    "Difference",
    "EnhanceOptions",
    "EnhancedPrompt",
    "ExpandedValues",
    "Expansion",
    "Kind",
    "LanguageModel",
    "PromptAnalysis",
    "Strength",
    "Style",
    "Styles",
    "Tokens",
    "WildcardChoice",
    "WildcardFolder",
    "aanalyze_prompt",
    "adescribe_image",
    "aenhance_prompt",
    "analyze_prompt",
    "count_tokens",
    "describe_image",
    "differences",
    "enhance_prompt",
    "expand_arrays",
    "expand_values",
    "expand_wildcards",
    "find_model",
    "has_wildcards",
    "list_styles",
    "load_styles",
    "merge_style",
    "read_styles",
    "stream_enhance",
]
