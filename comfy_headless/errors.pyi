from comfy_ui.errors import *
