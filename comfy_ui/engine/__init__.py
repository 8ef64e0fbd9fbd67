"""A ComfyUI that comfy-ui installs, runs and updates on this machine: ``comfy-ui engine``.

Not the demo engine, which is :mod:`comfy_ui.demo`. :mod:`.planning` decides what to install,
:mod:`.installing` puts it together in a staging folder, :mod:`.versions` switches between
versions, and :mod:`.supervision` keeps one running. :mod:`.engine_manager` joins them for the
command line and the page.
"""
