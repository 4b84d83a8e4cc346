"""What a trained model is on disk: written by the trainer, read and verified by the scorer.

Needs numpy and msgspec, and no training library: the scorer's image carries none.
"""
