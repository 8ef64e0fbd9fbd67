"""Node packs of the managed ComfyUI: which there are, where they come from, which are used."""
