"""The app as Hugging Face Spaces and ``python app.py`` start it."""

from comfy_ui.settings import load_settings
from comfy_ui.ui import launch

if __name__ == "__main__":
    launch(load_settings())
