"""Pieces of HTML that several tabs use."""
