"""LoRAs: the values that name them, tags in prompts, and the loaders in a graph."""
