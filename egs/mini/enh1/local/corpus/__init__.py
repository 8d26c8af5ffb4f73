"""The mini corpus: speech and noise, synthetic or found, mixed in VoiceBank-DEMAND's layout."""
