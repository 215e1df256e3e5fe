"""Masks and memory: ``environments`` that need either, or both, ``study`` what is learned there, ``speed`` how fast."""
