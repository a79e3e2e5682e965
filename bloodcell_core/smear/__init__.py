"""Slides of a smear: their pictures, a network's answers, a person's corrections, the differential count."""
