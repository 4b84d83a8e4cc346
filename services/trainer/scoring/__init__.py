"""Batch prediction: rows of features in, probabilities out, in batches of Arrow and bounded memory.

The numbers are those of the scorer: the same graph in the same runtime, the same single precision, the same calibration
in double precision (shared/deciding).
"""
