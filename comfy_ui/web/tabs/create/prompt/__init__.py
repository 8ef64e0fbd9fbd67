"""The prompt on Create: its tools, its styles, and completion."""
