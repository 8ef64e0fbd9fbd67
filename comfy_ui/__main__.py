"""``python -m comfy_ui`` is ``comfy-ui``."""

from .cli.main import main

if __name__ == "__main__":
    main()
