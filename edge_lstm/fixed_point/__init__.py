"""Fixed point: from the float network to the integer network, its operators, its formats, and the proof that nothing overflows."""
