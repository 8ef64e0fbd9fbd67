"""The built-in rules that write prompts without a language model."""
