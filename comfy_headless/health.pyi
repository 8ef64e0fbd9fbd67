from comfy_ui.health import *
