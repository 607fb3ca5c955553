"""Prediction: from images to masks, and from masks to pictures."""
