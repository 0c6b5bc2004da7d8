"""Tests of the generators and of what they share."""
