"""What ``comfy-ui`` can do, a file for each kind of command: :mod:`comfy_ui.cli` hands over to it.

A command takes the parsed arguments and the settings and gives its exit status. What it needs is
imported when it runs, so that the help is there at once.
"""
