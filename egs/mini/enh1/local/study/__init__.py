"""The study behind doc/miniature.md: what the committed runs say, as tables and plots."""
