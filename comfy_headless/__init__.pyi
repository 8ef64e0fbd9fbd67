from comfy_ui import *
from comfy_ui import __version__ as __version__
