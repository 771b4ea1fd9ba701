"""Figures and sheets for people to look at."""
