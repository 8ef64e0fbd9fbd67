from comfy_ui.client import *
