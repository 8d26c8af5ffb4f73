"""Corpora in, Kaldi-style data directories out; audio and scp reading for every room above."""
