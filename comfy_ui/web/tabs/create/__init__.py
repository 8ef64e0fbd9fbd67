"""The Create tab: form, prompt tools, Generate, live preview."""
