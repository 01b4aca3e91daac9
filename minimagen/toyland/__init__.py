"""Toyland: a small world whose captions are exact."""
