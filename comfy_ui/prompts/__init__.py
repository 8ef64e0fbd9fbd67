"""Words: prompts made richer, and prompts understood.

Nothing is contacted on import. The built-in rules need no model and no network.
"""

from __future__ import annotations

from .analyze import PromptAnalysis, analyze_prompt
from .enhance import EnhancedPrompt, Kind, enhance_prompt, list_styles

__all__ = [
    "EnhancedPrompt",
    "Kind",
    "PromptAnalysis",
    "analyze_prompt",
    "enhance_prompt",
    "list_styles",
]
