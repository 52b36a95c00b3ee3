"""Encoded bytes to pixels: the one preprocessing that training and serving share."""
