"""The APIs that servers speak: ComfyUI's own, and the Comfy API v2."""
