"""One package for each process of Flit Risk; none imports another."""
