"""Measures the mirror beside its peers, in one run on one machine; prints ratios, since machines differ and are noisy."""
