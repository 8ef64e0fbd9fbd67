from comfy_ui.prompts import *
