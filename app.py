"""Start the app: ``python app.py``, ``uv run app.py``, or as a Hugging Face Space."""

from comfy_ui.cli.main import main

if __name__ == "__main__":
    main()
