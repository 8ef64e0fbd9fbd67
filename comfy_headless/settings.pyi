from comfy_ui.settings import *
