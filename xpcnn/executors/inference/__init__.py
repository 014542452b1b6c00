"""Prediction by a network as a whole: its graph rewritten, its memory planned, threads sharing each layer's work."""
