"""Trained runs put to use: a picture in, classes with probabilities out."""
