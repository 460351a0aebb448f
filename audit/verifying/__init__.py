"""Verification: what is stored, held against what was signed."""
