"""Model files: the folders of ComfyUI and downloads into them."""
