"""Learns from matured outcomes, judges what it learnt, and puts the better model in service."""
