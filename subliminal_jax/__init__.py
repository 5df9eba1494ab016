"""Subliminal learning in JAX: teachers, unrelated data, students, and the theorem between them."""

__version__ = '0.1.0'
