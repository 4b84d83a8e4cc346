"""Models that look after themselves: when to train anew, and the loop that joins watching, training and promotion."""
