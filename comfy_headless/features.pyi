from comfy_ui.features import *
