from comfy_ui.telemetry import *
