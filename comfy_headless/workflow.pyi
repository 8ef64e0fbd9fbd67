from comfy_ui.workflow import *
