"""Untrusted work in processes that can be killed: decoding files, reading workflows."""
