"""Language models that write prompts: choice, instructions, requests, output."""
