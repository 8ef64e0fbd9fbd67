"""The protocol of a ComfyUI server as pure rules, without sockets, files or a clock."""
