"""Grids of variations: their cells, their table and their contact sheet."""
