"""Renderers of the handbook: one file per family of formats. The same content gives the same bytes."""
