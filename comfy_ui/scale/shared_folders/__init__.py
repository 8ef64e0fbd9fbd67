"""Folders of the data folder whose files several apps share."""
